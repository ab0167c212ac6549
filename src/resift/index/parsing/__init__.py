"""Bytes to passages: which parser reads which file, in processes that may be killed.

Knows nothing of where files come from, nor of what becomes of their passages.
"""
