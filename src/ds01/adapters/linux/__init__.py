"""What Linux itself answers: accounts, directories touched as their user, cgroups, a socket's peer, file systems."""
