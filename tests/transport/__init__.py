"""Tests of HTTP clients."""
