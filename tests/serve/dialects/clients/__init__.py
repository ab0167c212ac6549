"""The official clients of other rerankers, against a running server; skipped if not installed."""
