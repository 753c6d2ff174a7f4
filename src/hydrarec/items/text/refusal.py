"""Failures of the language model libraries as errors that a user is meant to see."""

from collections.abc import Iterator
from contextlib import contextmanager

from hydrarec.errors import HydrarecError, InputError


@contextmanager
def refused(what: str, remedy: str = "copy the model again, or choose another") -> Iterator[None]:
    """Turn any error inside into an InputError: ``what (why); remedy``.

    Damaged files make these libraries raise nearly everything, from JSONDecodeError to classes of their own.
    """
    try:
        yield
    except (HydrarecError, MemoryError):
        raise
    except Exception as error:
        first, *_ = str(error).strip().split("\n\n")  # what follows is advice for programmers
        why = " ".join(first.split()) or type(error).__name__
        raise InputError(f"{what} ({why}); {remedy}") from error
