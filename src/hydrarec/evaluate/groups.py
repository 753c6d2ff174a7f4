"""Metrics by group of queries: how long the history is, how popular the target is, which domain it belongs to."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.str_]

_LENGTHS = (5, 20, 100, 500)
_HEAD, _MID = 0.5, 0.8
_DOMAIN = "domain "


def by_history(lengths: NDArray[np.int64]) -> Labels:
    """(Q,) label of each query by the number of events in its history."""
    low = (1, *_LENGTHS)
    names = [f"history {a}-{b - 1}" for a, b in zip(low, _LENGTHS, strict=False)] + [f"history {_LENGTHS[-1]}+"]
    return np.array(names)[np.digitize(lengths, _LENGTHS)]


def by_popularity(targets: NDArray[np.int64], counts: NDArray[np.int64]) -> Labels:
    """(Q,) label of each query by its target's training events ``counts`` (n_items,).

    The most popular items that together receive half of all training events are the head, those of the next
    30 % the mid, the rest the tail; an item without any is cold.
    """
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    share = np.empty(len(counts))
    share[order] = before / max(counts.sum(), 1)
    names = np.array(["item head", "item mid", "item tail", "item cold"])
    group = np.where(counts == 0, 3, np.digitize(share, [_HEAD, _MID]))
    return names[group[targets]]


def by_domain(targets: NDArray[np.int64], names: Sequence[str], item_domains: NDArray[np.int16]) -> Labels:
    """(Q,) label of each query by its target's domain: ``names`` by code, ``item_domains`` (n_items,) codes."""
    return np.array([f"{_DOMAIN}{name}" for name in names])[item_domains[targets]]


def has_domains(groups: Iterable[str]) -> bool:
    """Whether groups of these names are of data with domains."""
    return any(name.startswith(_DOMAIN) for name in groups)


def of_domains(groups: Mapping[str, Any]) -> dict[str, Any]:
    """What ``groups`` has of domains, by their names; empty without domains."""
    return {name.removeprefix(_DOMAIN): each for name, each in groups.items() if name.startswith(_DOMAIN)}


def grouped(values: dict[str, NDArray[np.float64]], labels: Labels) -> dict[str, dict[str, float]]:
    """Mean of every metric in every group that has queries, with their number as ``queries``."""
    result: dict[str, dict[str, float]] = {}
    for name in sorted(set(labels.tolist()), key=_order):
        inside = labels == name
        means = {metric: float(value[inside].mean()) for metric, value in values.items()}
        result[name] = {"queries": int(inside.sum()), **means}
    return result


def _order(name: str) -> tuple[str, int, str]:
    kind, _, rest = name.partition(" ")
    if name.startswith(_DOMAIN):
        return kind, 0, rest
    usual = ["head", "mid", "tail", "cold"]
    return kind, usual.index(rest) if rest in usual else int(rest.rstrip("+").split("-")[0]), rest
