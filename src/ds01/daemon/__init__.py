"""`ds01d`: serves the API, runs the loops. Wires adapters to services; decides nothing itself."""
