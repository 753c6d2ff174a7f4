"""Errors that a caller is meant to see."""


class HydrarecError(Exception):
    """Work failed for a reason that the message states (command line: exit code 1)."""


def first_line(error: BaseException) -> str:
    """What an error says, in one line; its name where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]


class InputError(HydrarecError):
    """Bad input or usage (command line: exit code 2).

    The message names the file, row or field and the remedy, so that no traceback is needed.
    """
