"""Frozen values and pure decisions. No clock, no file, no library but `packaging`: `now` is an argument."""
