"""The pipeline of a search: two arms, their fusion, and the reranker over the window."""
