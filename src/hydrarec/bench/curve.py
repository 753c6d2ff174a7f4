"""Cost per event against the length of the history, for every model: the rows of a plot."""

from dataclasses import replace

from hydrarec.bench.measure import interleave
from hydrarec.bench.rows import Row, rows
from hydrarec.bench.scale import Scale
from hydrarec.bench.training import training
from hydrarec.nn import mamba_py

CURVE = "cost_by_length"  # the figure of its rows

# The longest histories that are worth the wait or fit the memory: attention is quadratic in time, HSTU in memory too,
# the parallel scan keeps d x N x 2 numbers an event many times over, a GRU walks event by event.
LONGEST = {"Hydra": 65_536, "SASRec": 16_384, "HSTU": 4096, "GRU": 16_384, "mambapy": 4096}


def contenders() -> list[str]:
    """The models that can run here."""
    return [name for name in LONGEST if name != "mambapy" or mamba_py.available()]


def cost_by_length(scale: Scale) -> list[Row]:
    """A training step for each model and length, all models of a length interleaved.

    Short histories come several to a step, so that every step has ``scale.curve_events`` events or more.
    """
    found: list[Row] = []
    for length in scale.curve:
        lengths = [length] * max(1, scale.curve_events // length)
        names = [name for name in contenders() if length <= LONGEST[name]]
        subjects = {name: training(name, [lengths], scale.narrow) for name in names}
        variants = {name: subject.variant for name, subject in subjects.items()}
        measured = rows(subjects, interleave(variants, scale, share=1 / 2))
        found += [replace(row, figure=CURVE) for row in measured.values()]
    return found
