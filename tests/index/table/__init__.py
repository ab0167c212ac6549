"""Tests of the table of passages."""
