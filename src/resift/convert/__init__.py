"""A checkpoint → a checked int8 artifact. Importing this package imports no torch."""
