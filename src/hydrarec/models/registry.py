"""Models by name. A model's file is imported when it is asked for."""

from importlib import import_module
from typing import Any

from hydrarec.config import nearest
from hydrarec.errors import InputError
from hydrarec.models.contract import Model

_PLACES = {
    "hydra": ("hydrarec.models.hydra", "HydraConfig", "Hydra"),
    "sasrec": ("hydrarec.models.sasrec", "SASRecConfig", "SASRec"),
    "esasrec": ("hydrarec.models.esasrec", "ESASRecConfig", "ESASRec"),
    "hstu": ("hydrarec.models.hstu", "HSTUConfig", "HSTU"),
    "gru4rec": ("hydrarec.models.gru4rec", "GRU4RecConfig", "GRU4Rec"),
    "mamba4rec": ("hydrarec.models.mamba4rec", "Mamba4RecConfig", "Mamba4Rec"),
    "lrurec": ("hydrarec.models.lrurec", "LRURecConfig", "LRURec"),
    "fuxi_linear": ("hydrarec.models.fuxi_linear", "FuXiLinearConfig", "FuXiLinear"),
    "popularity": ("hydrarec.models.popularity", "PopularityConfig", "Popularity"),
    "recent": ("hydrarec.models.popularity", "RecentConfig", "Recent"),
    "markov": ("hydrarec.models.markov", "MarkovConfig", "Markov"),
    "itemknn": ("hydrarec.models.itemknn", "ItemKNNConfig", "ItemKNN"),
}
NAMES = tuple(_PLACES)


def model_classes(name: str) -> tuple[type[Any], type[Model]]:
    """(config class, model class) of a name.

    Raises:
        InputError: there is no such model.
    """
    if name not in _PLACES:
        raise InputError(f"there is no model {name!r}{nearest(name, NAMES)}")
    module, config, model = _PLACES[name]
    place = import_module(module)
    return getattr(place, config), getattr(place, model)
