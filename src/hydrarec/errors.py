"""Errors that a caller is meant to see."""


class HydrarecError(Exception):
    """Work failed for a reason that the message states (command line: exit code 1)."""


class InputError(HydrarecError):
    """Bad input or usage (command line: exit code 2).

    The message names the file, row or field and the remedy, so that no traceback is needed.
    """


def first_line(error: BaseException) -> str:
    """The first line of what ``error`` says, or, where it says nothing, its type."""
    return str(error).strip().partition("\n")[0].rstrip() or type(error).__name__
