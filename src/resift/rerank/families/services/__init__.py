"""Reranking services: the body of a request, and the scores in a response. Pure."""
