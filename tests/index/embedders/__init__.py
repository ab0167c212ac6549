"""Embedders, one file a kind, and a server for them."""
