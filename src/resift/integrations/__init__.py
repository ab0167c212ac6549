"""Adapters for frameworks, one file each. They translate; they rank nothing themselves."""
