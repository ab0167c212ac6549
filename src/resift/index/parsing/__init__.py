"""Bytes to chunks: `pool` runs `worker` processes, which parse by `formats` and cut by `chunking`.

Knows nothing of where files come from, nor of what becomes of their chunks.
"""
