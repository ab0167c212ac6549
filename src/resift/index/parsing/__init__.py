"""Files to chunks: `pool` runs `worker` processes, which parse by `formats` and cut by `chunking`.

Does not know where files come from or how their chunks are used.
"""
