"""Published versions of an index: the record of each, and where they are listed and created."""
