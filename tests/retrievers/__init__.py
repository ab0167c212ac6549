"""Tests of first stages of other search engines."""
