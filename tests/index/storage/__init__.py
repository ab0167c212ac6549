"""Tests of where indexes live, without a server."""
