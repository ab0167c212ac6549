"""Storage of an index: locations, clients and their credentials, errors, checks, local copies."""
