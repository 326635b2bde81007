"""The wire contract, shared by both ends of the Unix socket."""
