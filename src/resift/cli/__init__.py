"""The command line: one verb a file. Parses, calls the library, prints."""
