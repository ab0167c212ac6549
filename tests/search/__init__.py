"""Tests of the search pipeline."""
