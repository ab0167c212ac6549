"""Where an index lives: locations, clients and their credentials, errors, checks, local copies."""
