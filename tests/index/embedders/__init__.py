"""Embedders, one file a kind, and the servers that they meet."""
