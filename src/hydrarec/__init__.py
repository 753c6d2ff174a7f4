"""hydrarec: next-item recommendation from a table of events, with multi-head latent Mamba (arXiv 2504.07398)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hydrarec._version import __version__

if TYPE_CHECKING:
    from hydrarec.data.prepare import prepare
    from hydrarec.data.protocol import Protocol
    from hydrarec.data.simulation.simulate import simulate
    from hydrarec.data.store import Dataset
    from hydrarec.errors import HydrarecError, InputError
    from hydrarec.recommender import Recommender

# Imported when first used: `import hydrarec` loads neither torch nor DuckDB.
_PLACES = {
    "Dataset": "data.store",
    "HydrarecError": "errors",
    "InputError": "errors",
    "Protocol": "data.protocol",
    "Recommender": "recommender",
    "prepare": "data.prepare",
    "simulate": "data.simulation.simulate",
}

__all__ = [
    "Dataset",
    "HydrarecError",
    "InputError",
    "Protocol",
    "Recommender",
    "__version__",
    "prepare",
    "simulate",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'hydrarec' has no attribute {name!r}")
    return getattr(import_module(f"hydrarec.{_PLACES[name]}"), name)
