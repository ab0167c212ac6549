"""The adapters for frameworks, with the real frameworks."""
