"""The table of passages, stored with Lance: rows, vectors and filters, writing and reading."""
