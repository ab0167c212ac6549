"""An index of shards: many ordinary indexes that are searched and published as one."""
