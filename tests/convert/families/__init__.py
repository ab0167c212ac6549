"""Tests of the architectures that can be converted."""
