"""How models are made: a checkpoint in, an artifact out. The only room that imports torch."""
