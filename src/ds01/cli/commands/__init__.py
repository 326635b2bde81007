"""One module for each noun; loaded when its command is typed."""
