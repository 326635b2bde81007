"""A private container engine for tests and the demo.

`dev/engine` starts it, `dev/base-image` fills it. Standard library only, because both run before anything is installed.
Nothing is installed on the machine and no other engine is touched: `engine.py` says what a running engine consists of.
"""
