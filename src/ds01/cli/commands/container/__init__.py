"""The verbs of `ds01 container`, most of them at the top level too."""
