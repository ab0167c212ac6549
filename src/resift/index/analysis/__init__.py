"""The analyser of the full-text index: text in, terms out. Pure; knows no index and does no I/O."""
