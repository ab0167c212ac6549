"""The index: documents of a folder or a bucket, stored as passages that can be searched.

Does not know how the results of the two retrievers are fused and reranked.
"""
