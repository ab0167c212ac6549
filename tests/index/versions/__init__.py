"""Tests of published versions."""
