"""The libraries of the extra ``serve``."""

from importlib import import_module

from hydrarec.errors import InputError


def require() -> None:
    """Raises:
    InputError: one of them is not installed.
    """
    for name in ("fastapi", "uvicorn", "prometheus_client"):
        try:
            import_module(name)
        except ImportError as error:
            raise InputError(f"serving needs {name} ({error}); install it: pip install 'hydrarec[serve]'") from error
