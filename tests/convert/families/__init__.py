"""Tests of architectures, one file a family."""
