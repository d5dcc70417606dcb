"""The two errors that a user can cause; the command line prints them as one sentence."""


class InputError(ValueError):
    """The call was wrong: what came, what was expected, the likely slip. Exit code 2."""


class RunError(RuntimeError):
    """The call was right and something failed: no network, a full disk. Exit code 1."""
