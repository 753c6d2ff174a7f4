"""Scores for every query, in blocks of bounded memory, each history read as often as the model needs and no more."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from hydrarec.data.store import Dataset
from hydrarec.data.windows import fill
from hydrarec.evaluate.queries import queries, shared_queries, users_of
from hydrarec.evaluate.ranks import Scores
from hydrarec.models.contract import Model
from hydrarec.models.neural import NeuralModel

_SCORE_BYTES = 256 * 2**20
_TOGETHER = 512  # queries that share a walk through a catalog whose scores are not held
_PAIRS = 2**22


def answers(
    model: Model,
    dataset: Dataset,
    positions: np.ndarray,
    *,
    max_len: int,
    batch_events: int,
    pairs: bool,
    device: torch.device | str,
    among: np.ndarray | None = None,
) -> Iterator[tuple[np.ndarray, Scores | Callable[[], Scores]]]:
    """Score the catalog for the event at each position, given the events before it.

    A neural model that reads whole histories passes once over that of a user, whatever the number of targets in it.

    Args:
        positions: (Q,) absolute.
        max_len: events of each history given to the model, the last ones; 0 is all.
        batch_events: events of a batch; a longer history has a batch of its own.
        pairs: keep the events before the targets of a block within some millions, for who wants to list them.
        among: (Q, 2) first row and end of the items that a neural model scores for each; None: all.

    Yields:
        (places (q,) among the positions, what ``ranks.rank`` takes for these q), every place once. Where a catalog is
        so large that few of its scores fit, they are made twice instead of held.
    """
    most = max(1, _SCORE_BYTES // (4 * dataset.n_items))
    if not isinstance(model, NeuralModel):
        for asked in queries(dataset, positions, max_len=max_len, batch_events=batch_events, batch_queries=most):
            yield asked.rows, _within(model.score(asked.batch.to(device)), dataset.n_items)
        return
    held = most >= _TOGETHER
    most = max(most, _TOGETHER)
    if max_len:
        batches = queries(dataset, positions, max_len=max_len, batch_events=batch_events, batch_queries=most)
    else:
        batches = shared_queries(dataset, positions, batch_events=batch_events)
    past = positions - np.asarray(dataset.offsets)[users_of(dataset, positions)] if pairs else np.ones_like(positions)
    read = ((asked.rows, model.hidden_at(asked.batch.to(device), asked.after.to(device))) for asked in batches)
    for whole, states in read if held else _together(read):
        for chosen, items in _by_items(whole, among, dataset.n_items):
            rows, hidden = whole[chosen], states[torch.from_numpy(chosen).to(states.device)]
            for run in fill(past[rows], _PAIRS):
                for start in range(run.start, run.stop, most):
                    block = slice(start, min(start + most, run.stop))
                    scores = partial(model.score_hidden, hidden[block], items)
                    yield rows[block], scores() if held else scores


def _together(read: Iterator[tuple[np.ndarray, Tensor]]) -> Iterator[tuple[np.ndarray, Tensor]]:
    """The same queries, ``_TOGETHER`` at a time or more."""
    rows: list[np.ndarray] = []
    hidden: list[Tensor] = []
    for each, states in read:
        rows.append(each)
        hidden.append(states)
        if sum(map(len, rows)) >= _TOGETHER:
            yield np.concatenate(rows), torch.cat(hidden)
            rows, hidden = [], []
    if rows:
        yield np.concatenate(rows), torch.cat(hidden)


def _by_items(rows: np.ndarray, among: np.ndarray | None, n_items: int) -> Iterator[tuple[np.ndarray, range]]:
    """Places among ``rows`` (q,), and the items that these are asked about."""
    if among is None:
        yield np.arange(len(rows)), range(n_items)
        return
    found, of = np.unique(among[rows], axis=0, return_inverse=True)
    for i, (first, end) in enumerate(found.tolist()):
        yield np.flatnonzero(of.reshape(-1) == i), range(first, end)


def _within(scores: Iterator[tuple[int, Tensor]], n_items: int) -> Iterator[tuple[int, Tensor]]:
    """Scores of the items of the data set: a model may have been given more since."""
    for first, chunk in scores:
        if first < n_items:
            yield first, chunk[:, : n_items - first]
