"""The rows of a table: figures over seeds and users, each row against its best rival."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hydrarec.compare.forms import is_former
from hydrarec.compare.significance import paired_p
from hydrarec.compare.spec import ModelSpec
from hydrarec.compare.values import unpack
from hydrarec.errors import InputError
from hydrarec.evaluate.bootstrap import intervals
from hydrarec.evaluate.metrics import SELECTION_METRIC
from hydrarec.machine import describe


@dataclass(frozen=True, kw_only=True)
class Row:
    """A model in a table: means over its seeds.

    Attributes:
        former: measured with another form of the model, see ``forms.FORMS``.
        metrics: on the test split; spread: their standard deviation over seeds (n - 1), empty with one seed.
        intervals: 95 % of the mean over seeds, users drawn, of NDCG@10, and of HR@10 where results have it.
        published: NDCG@10 in the literature; None: there is none for this table.
        validation: NDCG@10 of the weights that were kept, or None where nothing validates.
        rival: label of the row it is held against; difference: relative, of NDCG@10; p: of no difference.
        time_shares: by label of another row, see ``quality.share_of_time``; of ours only.
        costs: parameters (``items`` and ``encoder``), ``seconds_to_best``, ``events_per_second``, ... means over seeds;
            ``peak_memory_bytes`` is the largest.
        recipe: all settings, of the first seed; point: those of them that validation chose from the grid.
        commits: of the code that made the runs; machines: that they were made on, as ``machine.describe`` has them.
        curve: see ``record``; of the first seed.
    """

    label: str
    title: str
    ours: bool
    external: bool
    removed: bool
    former: bool
    sees_request_time: bool
    seeds: list[int]
    metrics: dict[str, float]
    spread: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    validation: float | None
    published: float | None = None
    rival: str | None = None
    difference: float | None = None
    p: float | None = None
    time_shares: dict[str, float | None] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    point: list[str] = field(default_factory=list)
    commits: list[str] = field(default_factory=list)
    machines: list[str] = field(default_factory=list)
    curve: list[list[float]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True, eq=False)
class Queries:
    """NDCG@10 and, where results have it, HR@10 of every test target, mean over seeds, and the user of each."""

    values: NDArray[np.float64]
    users: NDArray[np.int64]
    hits: NDArray[np.float64] | None = None


def queries_of(records: list[dict[str, Any]], where: str) -> Queries:
    """Raises InputError: the runs of a row answer different questions, or a file is damaged."""
    values = _of_seeds(records, "ndcg10", where)
    hits = _of_seeds(records, "hr10", where) if all("hr10" in found for found in records) else None
    packed = records[0]["query_users"]
    users = np.arange(len(values)) if packed is None else unpack(packed, "i4", f"query_users of {where}")
    return Queries(values=values, users=users.astype(np.int64), hits=hits)


def _of_seeds(records: list[dict[str, Any]], key: str, where: str) -> NDArray[np.float64]:
    values = [unpack(found[key], "f4", f"{key} of {where}-{found['seed']}") for found in records]
    if len({len(each) for each in values}) > 1:
        raise InputError(f"the runs of {where} have different numbers of targets; delete those of other data")
    mean: NDArray[np.float64] = np.mean(values, axis=0)
    return mean


def row_of(model: ModelSpec, table: str, records: list[dict[str, Any]], queries: Queries) -> Row:
    """A row of a table, not yet held against another. ``records``: one a seed, at least one."""
    names = records[0]["metrics"]
    of_seeds = {name: [found["metrics"][name] for found in records] for name in names}
    validations = [found["validation"][SELECTION_METRIC] for found in records if found["validation"]]
    return Row(
        label=model.label,
        title=model.title or model.label,
        ours=model.ours,
        external=model.external,
        removed=model.removed,
        former=any(map(is_former, records)) and model.runs_here,
        sees_request_time=records[0]["sees_request_time"],
        seeds=[found["seed"] for found in records],
        metrics={name: float(np.mean(values)) for name, values in of_seeds.items()},
        spread={name: float(np.std(values, ddof=1)) for name, values in of_seeds.items()} if len(records) > 1 else {},
        intervals=intervals(
            {SELECTION_METRIC: queries.values, **({} if queries.hits is None else {"HR@10": queries.hits})},
            queries.users,
        ),
        published=model.published.get(table),
        validation=float(np.mean(validations)) if validations else None,
        costs=_costs(records),
        recipe=records[0]["recipe"],
        point=records[0].get("point", []),
        commits=sorted({found["commit"] for found in records}),
        machines=sorted({describe(found["machine"]) for found in records}),
        curve=records[0]["curve"],
    )


def best_rival(row: Row, rows: list[Row], figures: dict[str, float]) -> Row | None:
    """The best of the rows that are not ours and see no more than ``row``; None where that is ``row`` itself.

    Args:
        figures: by label, what tells the best.
    """
    candidates = [each for each in rows if not each.ours and each.sees_request_time <= row.sees_request_time]
    if not candidates:
        return None
    best = max(candidates, key=lambda each: figures[each.label])
    return None if best.label == row.label else best


def against(row: Row, own: Queries, rival: Row, other: Queries) -> dict[str, Any]:
    """``rival``, ``difference`` and ``p`` of a row. Raises InputError: the two answer different questions."""
    if not np.array_equal(own.users, other.users):
        raise InputError(f"{row.label} and {rival.label} have different targets; delete the results of other data")
    base = float(other.values.mean())
    difference = float(own.values.mean()) / base - 1 if base > 0 else None
    return {"rival": rival.label, "difference": difference, "p": paired_p(own.values, other.values, own.users)}


def _costs(records: list[dict[str, Any]]) -> dict[str, float]:
    means = ("seconds", "cpu_seconds", "seconds_to_best", "cpu_seconds_to_best", "events_to_best", "events_per_second")
    return {
        "items": records[0]["parameters"]["items"],
        "encoder": records[0]["parameters"]["encoder"],
        "epochs": float(np.mean([found["best_epoch"] or found["epochs"] for found in records])),
        **{name: float(np.mean([found[name] for found in records])) for name in means},
        "peak_memory_bytes": max(found["peak_memory_bytes"] for found in records),
    }
