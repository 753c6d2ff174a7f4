"""Libraries that come with an extra of hydrarec, imported when they are needed."""

from importlib import import_module
from types import ModuleType

from hydrarec.errors import InputError


def require(library: str, extra: str, need: str, *, instead: str = "") -> ModuleType:
    """The module ``library``, imported.

    Args:
        extra: what to install to have it.
        need: the beginning of what is said without it: ``plots need``.
        instead: what else can be done then: ``leave out --report``.

    Raises:
        InputError: it is not installed, or cannot be imported.
    """
    try:
        return import_module(library)
    except ImportError as error:
        remedy = f"install it: pip install 'hydrarec[{extra}]'" + (f", or {instead}" if instead else "")
        raise InputError(f"{need} {library} ({error}); {remedy}") from error
