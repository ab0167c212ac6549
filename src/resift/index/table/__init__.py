"""The table of passages, stored with Lance: its rows, vectors and filters, writing and reading."""
