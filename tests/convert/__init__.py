"""Tests of how models are made."""
