"""The command line. Unprivileged; reaches the daemon through ds01.client only."""
