"""Two-stage search over an index: retrieve, fuse, rerank."""
