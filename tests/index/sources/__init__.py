"""Tests of how documents are listed and read."""
