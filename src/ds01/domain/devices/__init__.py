"""Graphics processors and their instances: what there is, how it is divided, what happened to it."""
