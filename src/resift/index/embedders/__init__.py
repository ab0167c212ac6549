"""One file a kind of embedder. They know nothing of each other nor of indexes."""
