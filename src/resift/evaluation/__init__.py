"""Judged collections and runs: reading, writing, and what a reranker makes of them."""
