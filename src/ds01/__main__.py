"""`python -m ds01` is the same program as `ds01`."""

from ds01.cli.main import main

if __name__ == "__main__":
    main()
