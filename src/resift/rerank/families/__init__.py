"""Second stages that are no local encoder: services, language models, chains."""
