"""The tests mirror src; run them with  pytest."""
