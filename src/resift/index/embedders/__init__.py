"""The embedders, one file each. They do not depend on each other or on indexes."""
