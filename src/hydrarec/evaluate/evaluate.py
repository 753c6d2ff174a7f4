"""Full ranking of a model under a protocol."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hydrarec import processes
from hydrarec.data.prefix import training_events
from hydrarec.data.protocol import Protocol
from hydrarec.data.store import Dataset
from hydrarec.data.stretches import stretch_pairs
from hydrarec.data.windows import share
from hydrarec.errors import InputError
from hydrarec.evaluate.answers import answers
from hydrarec.evaluate.beyond import coverage, popularity_bias
from hydrarec.evaluate.bootstrap import intervals
from hydrarec.evaluate.groups import by_domain, by_history, by_popularity, grouped
from hydrarec.evaluate.metrics import accuracy
from hydrarec.evaluate.queries import users_of
from hydrarec.evaluate.ranks import rank, spans
from hydrarec.models.contract import Model
from hydrarec.models.neural import NeuralModel

TOP = 10
"""Length of the lists that coverage and popularity bias look at."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was measured.

    Attributes:
        users: how many users were asked about; queries: how many targets.
        metrics: mean over queries of HR@k, NDCG@k and MRR, then ``coverage@10`` (share of the candidates that
            is recommended to anyone) and ``popularity@10`` (mean popularity percentile of what is).
        intervals: 95 % interval of each mean; empty when not asked for.
        groups: the same means by group of queries, with their number as ``queries``: by length of the history,
            popularity of the target, and where there are domains, the target's.
        sees_request_time: whether the model knew when each target happened; see ``Model.sees_request_time``.
        greater, ties: (Q,) int64, in the order of the positions; see ``Ranks``.
    """

    users: int
    queries: int
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    groups: dict[str, dict[str, float]]
    sees_request_time: bool
    greater: np.ndarray
    ties: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without the ranks."""
        return {
            "users": self.users,
            "queries": self.queries,
            "metrics": self.metrics,
            "intervals": {name: list(interval) for name, interval in self.intervals.items()},
            "groups": self.groups,
            "sees_request_time": self.sees_request_time,
        }


@torch.inference_mode()
def evaluate(
    model: Model,
    dataset: Dataset,
    positions: np.ndarray,
    *,
    protocol: Protocol,
    train_ends: np.ndarray,
    max_len: int = 0,
    batch_events: int = 16384,
    confidence: bool = True,
    lists: bool = True,
    progress: Callable[[int, int], None] | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Evaluation:
    """Rank the event at each position among the candidates, given the events before it.

    The model sees the order, the items and the times of the history. It is asked at the time of the target, which a
    server knows as the time of the request; a model that looks at it says so (``Model.sees_request_time``).

    Several processes share the users, and each returns the same, of all of them. Where they share the table of items,
    each reads all histories and scores its own items.

    Args:
        positions: (Q,) absolute positions: ``Split.valid`` or ``Split.test``.
        protocol: candidates, seen-item rule and cut-offs.
        train_ends: (U,) of the split: what popularity is counted on.
        max_len: events of each history given to the model, the last ones; 0 is all.
        batch_events: events in a batch. Queries in a batch are bounded as well, so that their scores stay
            within 256 MiB.
        confidence: whether to bootstrap intervals over users.
        lists: whether to find the best items of every query too, for coverage and popularity: a third of the work.
        progress: called with (queries done, all queries).
        seed: of the bootstrap.
        device: where batches are put before the model scores them.

    Raises:
        InputError: there is nothing to ask. HydrarecError: a score is NaN.
    """
    if len(positions) == 0:
        raise InputError("there is no target to evaluate; choose a protocol or a split with targets")
    counts = np.bincount(training_events(dataset, train_ends)[0], minlength=dataset.n_items)
    candidates = torch.from_numpy(counts > 0) if protocol.candidates == "train" else None
    apart = dataset.item_domains if protocol.domains == "own" else None
    domains = None if apart is None else torch.from_numpy(apart)
    greater, ties = np.zeros(len(positions), np.int64), np.zeros(len(positions), np.int64)
    top = np.zeros((len(positions), TOP if lists else 0), np.int64)
    items, starts = np.asarray(dataset.items), np.asarray(dataset.offsets)[users_of(dataset, positions)]
    sharded = isinstance(model, NeuralModel) and model.items.sharded
    own, done = np.arange(len(positions)) if sharded else _own(dataset, positions, max_len), 0
    # Where a domain's items stand together, only they are scored; processes that share a table walk it in step.
    pieces = None if apart is None or sharded else spans(torch.from_numpy(apart))
    among = None if apart is None or pieces is None else pieces.numpy()[apart[items[positions[own]]]]
    for places, scores in answers(
        model,
        dataset,
        positions[own],
        max_len=max_len,
        batch_events=batch_events,
        pairs=protocol.exclude_seen,
        device=device,
        among=among,
    ):
        rows = own[places]
        ranks = rank(
            scores,
            torch.from_numpy(items[positions[rows]].astype(np.int64)),
            # The whole history, whatever part of it the model was given.
            seen=stretch_pairs(items, starts[rows], positions[rows]) if protocol.exclude_seen else None,
            candidates=candidates,
            domains=domains,
            top=top.shape[1],
            sharded=sharded,
        )
        greater[rows], ties[rows], top[rows] = ranks.greater, ranks.ties, ranks.top + 1
        done += len(rows)
        if progress is not None:
            progress(done * len(positions) // len(own), len(positions))
    for found in () if sharded else (greater, ties, top):
        processes.total(torch.from_numpy(found))  # zeros where others asked
    top -= 1
    sees = model.sees_request_time
    return _summary(dataset, positions, protocol, counts, sees, greater, ties, top, seed if confidence else None)


def _own(dataset: Dataset, positions: np.ndarray, max_len: int) -> np.ndarray:
    """Places (q,) among the positions (Q,) that this process asks about: whole users, about as much to read."""
    if processes.world() == 1:
        return np.arange(len(positions))
    users, owner, counts = np.unique(users_of(dataset, positions), return_inverse=True, return_counts=True)
    lengths = np.diff(dataset.offsets)[users]
    part = share(np.minimum(lengths, max_len) * counts if max_len else lengths, processes.rank(), processes.world())
    return np.flatnonzero((owner >= part.start) & (owner < part.stop))


def _summary(
    dataset: Dataset,
    positions: np.ndarray,
    protocol: Protocol,
    counts: np.ndarray,
    sees_request_time: bool,
    greater: np.ndarray,
    ties: np.ndarray,
    top: np.ndarray,
    seed: int | None,
) -> Evaluation:
    users = users_of(dataset, positions)
    values = accuracy(greater, ties, protocol.cutoffs)
    lengths = positions - np.asarray(dataset.offsets)[users]
    targets = np.asarray(dataset.items)[positions]
    groups = grouped(values, by_history(lengths)) | grouped(values, by_popularity(targets, counts))
    if dataset.item_domains is not None:
        groups |= grouped(values, by_domain(targets, dataset.domains, dataset.item_domains))
    metrics = {name: float(value.mean()) for name, value in values.items()}
    if top.size:
        metrics[f"coverage@{TOP}"] = coverage(top, _count_candidates(dataset, protocol, counts, targets))
        metrics[f"popularity@{TOP}"] = popularity_bias(top, counts)
    return Evaluation(
        users=len(np.unique(users)),
        queries=len(positions),
        metrics=metrics,
        intervals={} if seed is None else intervals(values, users, seed=seed),
        groups=groups,
        sees_request_time=sees_request_time,
        greater=greater,
        ties=ties,
    )


def _count_candidates(dataset: Dataset, protocol: Protocol, counts: np.ndarray, targets: np.ndarray) -> int:
    """How many items are a candidate of any target (Q,)."""
    possible = counts > 0 if protocol.candidates == "train" else np.ones(dataset.n_items, bool)
    if protocol.domains == "own" and dataset.item_domains is not None:
        possible &= np.isin(dataset.item_domains, dataset.item_domains[targets])
    return int(possible.sum())
