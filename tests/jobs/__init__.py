"""Tests of `resift.jobs`."""
