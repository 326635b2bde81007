"""The demonstration: every step is shown, run, and verified by its effect."""
