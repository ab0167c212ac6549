"""Tests of the APIs of other rerankers."""
