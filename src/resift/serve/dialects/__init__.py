"""The APIs of other rerankers, one file each. A dialect translates and does nothing else."""
