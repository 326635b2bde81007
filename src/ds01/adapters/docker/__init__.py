"""The Docker Engine over its Unix socket: own thin HTTP client on h11. The only owner of h11."""
