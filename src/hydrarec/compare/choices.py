"""The settings of every run: what the file gives, and what is left to validation."""

from itertools import product
from pathlib import Path

import numpy as np

from hydrarec.compare.spec import ModelSpec, Spec, Table
from hydrarec.config import as_overrides
from hydrarec.errors import InputError
from hydrarec.models.neural import NeuralModel
from hydrarec.models.registry import model_classes
from hydrarec.train.settings import Settings, resolve

Point = tuple[str, ...]  # settings, section.key=value


def points(spec: Spec, model: ModelSpec) -> list[Point]:
    """The points of its grid that a model tries: all, or ``spec.trials`` drawn by a fixed seed; in the grid's order."""
    if not model.grid:
        return [()]
    axes = [[as_overrides({key: value})[0] for value in values] for key, values in model.grid.items()]
    every = list(product(*axes))
    if len(every) <= spec.trials:
        return every
    drawn = np.random.default_rng(0).choice(len(every), spec.trials, replace=False)
    return [every[place] for place in sorted(drawn.tolist())]


def settings_of(spec: Spec, table: Table, model: ModelSpec, point: Point, seed: int) -> Settings:
    """Everything resolved: recipe, then ``[train]`` and ``[loss]`` for all, then what the model sets, then its point.

    Raises:
        InputError: an unknown setting, or a model sets what the file gives for all.
    """
    rules = {"train": {**spec.train, **table.data.train}, "loss": spec.loss}
    rule = {f"{section}.{key}": value for section, given in rules.items() for key, value in given.items()}
    own = [*model.set, *model.on.get(table.data.name, ()), *model.on.get(table.name, ()), *point]
    for setting in own:
        key = setting.partition("=")[0].strip()
        section = next((name for name in ("", "train.", "loss.") if name + key in rule), None)
        if section is not None:
            where = (section + key).partition(".")[0]
            raise InputError(
                f"model {model.label} sets {key}, which [{where}] gives for all; leave it out of one of them"
            )
    recipe = Path(model.recipe.replace("{data}", table.data.name)) if model.recipe else None
    try:
        settings, _ = resolve(model=model.name, recipe=recipe, overrides=[*as_overrides(rule), *own], seed=seed)
    except InputError as error:
        raise InputError(f"model {model.label} on {table.name}: {error}") from error
    return settings


def counts(spec: Spec, table: Table, model: ModelSpec) -> bool:
    """Whether the model is fitted by counting, so that no seed matters."""
    settings = settings_of(spec, table, model, points(spec, model)[0], spec.seeds[0])
    return not issubclass(model_classes(settings.name)[1], NeuralModel)
