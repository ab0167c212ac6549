"""The first stage's data: documents from a folder or a bucket, kept as searchable passages.

Knows nothing of rerankers or of how the two search arms are put together.
"""
