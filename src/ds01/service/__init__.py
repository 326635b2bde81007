"""Use cases: observe, decide (domain), act (ports), record. Knows ports, never tools."""
