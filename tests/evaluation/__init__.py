"""Tests of collections and runs."""
