"""One package for each outside system. They do not know each other."""
