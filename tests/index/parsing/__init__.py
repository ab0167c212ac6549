"""Tests of index/parsing."""
