"""First stages of other search engines, one file each: a query and k in, candidates out."""
