"""Rates of this machine that ``hydrarec plan`` reckons with."""

import time
from collections.abc import Callable
from statistics import median

import torch

from hydrarec.bench.training import training
from hydrarec.items.compact import FloatTable, Int8Table
from hydrarec.items.hashed import QuotientRemainder
from hydrarec.items.plan import PlanConfig
from hydrarec.items.rows import RowEncoder, RowwiseAdagrad
from hydrarec.items.table import ItemTable

_ITEMS, _ROUNDS, _WINDOWS, _LENGTH = 100_000, 3, 16, 200


def seconds_per_billion_events(encoder: str, config: PlanConfig) -> dict[str, float]:
    """``items``: reading the rows of the steps and updating them; ``encoder``: training two layers of Hydra.

    As long as this process would take, divided by ``config.gpus``. Larger tables miss the caches more often, and
    transfers come on top.
    """
    rows = min(config.rows, _ITEMS)
    step = _seconds(_table_step(encoder, config.dim, rows)) * config.rows / rows
    subject = training("Hydra", [[_LENGTH] * _WINDOWS], config.dim)
    event = _seconds(subject.variant.run) / subject.events
    return {"items": 1e9 / config.events * step / config.gpus, "encoder": 1e9 * event / config.gpus}


def _table_step(encoder: str, dim: int, n_rows: int) -> Callable[[], None]:
    """One step on ``n_rows`` rows of a small table."""
    items: ItemTable | RowEncoder
    optimiser: torch.optim.Optimizer | RowwiseAdagrad
    if encoder == "table":
        items = ItemTable(_ITEMS, dim)
        optimiser = torch.optim.AdamW(items.parameters(), fused=True)
    else:
        items = _rows(encoder, dim)
        optimiser = RowwiseAdagrad(*items.tables)
    weights = torch.randn(n_rows, dim)

    def step() -> None:
        (items.encode(torch.randint(_ITEMS, (n_rows,))) * weights).sum().backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def _rows(encoder: str, dim: int) -> RowEncoder:
    if encoder == "quotient_remainder":
        return QuotientRemainder(_ITEMS, dim)
    return Int8Table(_ITEMS, dim) if encoder == "int8" else FloatTable(_ITEMS, dim, dtype=getattr(torch, encoder))


def _seconds(run: Callable[[], object]) -> float:
    run()
    taken = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return median(taken)
