"""Images: names, the catalogue, recipes and their Dockerfiles, packages and what is installed."""
