"""Documents in folders and buckets: listed and read."""
