"""Why somebody waits, in data and in sentences, and what would help."""
