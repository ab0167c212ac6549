"""The server: HTTP dialects of other rerankers, a native API, a page, and tools for agents."""
