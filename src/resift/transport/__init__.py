"""HTTP for clients of embedders and rerankers: sends JSON, retries, hides secrets."""
