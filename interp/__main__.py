"""`python -m interp` is the same as `interp`."""

from interp.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
