"""Tests of the first stage's data."""
