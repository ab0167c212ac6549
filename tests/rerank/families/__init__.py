"""Tests of second stages that are no local encoder."""
