"""What the programs of this folder share: their options, comparisons run from the files beside them, their results."""

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the language model is an installed package: nobody is asked

import numpy as np
from shops import made
from targets import Targets, targets_of

from hydrarec.compare.command import compare_files, slow_reporter
from hydrarec.compare.plan import Part, Places, Plan, Slot
from hydrarec.compare.spec import read_spec
from hydrarec.compare.values import unpack
from hydrarec.data.store import Dataset
from hydrarec.errors import HydrarecError, InputError
from hydrarec.progress import Progress, say

HERE = Path(__file__).parent
RECIPE = Path("recipes/shops-text.toml")


def options(doc: str) -> argparse.ArgumentParser:
    """Options that every program has."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--show", action="store_true", help="run nothing, show what is there")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the result files, to keep")
    parser.add_argument("--runs", type=Path, default=Path("runs/compare"), help="folder for work in progress")
    return parser


def progress_of(given: argparse.Namespace) -> Progress:
    return slow_reporter(given.json)


@dataclass(frozen=True, kw_only=True)
class Results:
    """The runs of one of the comparisons beside this file, by table and label."""

    plan: Plan

    def slots(self, table: str, label: str) -> list[Slot]:
        return [s for s in self.plan.slots() if (s.table.name, s.model.label, s.trial) == (table, label, None)]

    def whole(self, table: str, label: str) -> bool:
        """Whether every seed is there: nothing is judged before."""
        return len(self.records(table, label)) == len(self.slots(table, label))

    def records(self, table: str, label: str) -> list[dict[str, Any]]:
        """Those that are there, one a seed; see ``hydrarec.compare.record``."""
        found = (self.plan.finished(slot) for slot in self.slots(table, label))
        return [each for each in found if each is not None]


def compared(given: argparse.Namespace, file: str, tables: Sequence[str] = (), labels: Sequence[str] = ()) -> Results:
    """Run what is missing of a comparison, unless only to show; ``tables`` and ``labels`` limit it.

    Raises:
        HydrarecError: a run failed.
    """
    spec = read_spec(HERE / file)
    plan = Plan(
        spec=spec,
        places=Places(results=given.results, runs=given.runs),
        part=Part(tables=tuple(tables), labels=tuple(labels)),
    )
    if not given.show:
        for name in {slot.table.data.source for slot in plan.slots()}:
            made(Path(str(name)).name)
        done = compare_files(
            [HERE / file],
            tables=tables,
            labels=labels,
            results=given.results,
            runs=given.runs,
            jobs=given.jobs,
            progress=progress_of(given),
            log=(lambda line: None) if given.json else say,
        )
        done.raise_failures()
    return Results(plan=plan)


def asked(name: str) -> Targets:
    """The test targets of a data set."""
    dataset = Dataset.open(made(name))
    return targets_of(dataset, dataset.protocol)


def values_of(
    records: list[dict[str, Any]], targets: Targets, figure: str = "ndcg10", *, fingerprint: str = "fingerprint"
) -> np.ndarray:
    """(Q,) NDCG@10, or another ``figure``, of each target, mean over the runs, of which there is at least one.

    Args:
        fingerprint: where a result has that of the data it was measured on.

    Raises:
        InputError: they are of other data than ``targets``.
    """
    where = f"{records[0]['table']}/{records[0]['model']}"
    if {found[fingerprint] for found in records} != {targets.fingerprint}:
        raise InputError(f"the results of {where} are of other data than there is now; delete them to run again")
    mean: np.ndarray = np.mean([unpack(found[figure], "f4", f"{figure} of {where}") for found in records], axis=0)
    return mean


def finish(given: argparse.Namespace, found: dict[str, Any]) -> bool:
    """Print ``found`` where JSON is asked for; whether it was."""
    if given.json:
        print(json.dumps(found, allow_nan=False, default=str))
    return bool(given.json)


def run(main: Any) -> None:
    """``main()``; errors as the commands of hydrarec say them."""
    try:
        main()
    except HydrarecError as error:
        say(f"error: {error}")
        raise SystemExit(2 if isinstance(error, InputError) else 1) from None
