"""Tests of an index of shards."""
