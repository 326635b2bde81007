"""Containers: what one is made with, who its user is inside, what it is to its owner, and what becomes of it."""
