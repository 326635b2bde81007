"""The program `ds01`, also as `python -m ds01`: an interruption is one from the first of our modules on."""

import sys

_INTERRUPTED = 130
"""As `ds01.errors` says, which may not be loaded yet."""


def main() -> None:
    """Load the program and run it. On a busy machine loading takes a while, and Ctrl-C showed Python's own words."""
    try:
        from ds01.cli.main import main as run
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    run()


if __name__ == "__main__":
    main()
