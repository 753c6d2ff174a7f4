"""Tables from result files alone."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from hydrarec.compare.forms import is_former
from hydrarec.compare.plan import Plan
from hydrarec.compare.quality import shares_of_time
from hydrarec.compare.rows import Queries, Row, against, best_rival, queries_of, row_of
from hydrarec.compare.spec import Table
from hydrarec.errors import InputError
from hydrarec.evaluate.groups import has_domains
from hydrarec.evaluate.metrics import SELECTION_METRIC
from hydrarec.machine import describe


@dataclass(frozen=True, kw_only=True)
class Assembled:
    """One data set under one protocol, with what is there of it.

    Attributes:
        protocol: its line; fingerprint, data: of the data set (users, items, events).
        part: the split that rows are measured on, ``test`` or ``valid``; targets: its users and queries.
        machines: where runs were made, as ``machine.describe`` has them.
        chosen_on: the table on whose validation settings were chosen, or None.
        validates: whether its own validation chose the weights.
        rivals_by: ``validation``, or ``test`` where not every rival has a validation figure: what tells the best rival.
        rows: best NDCG@10 first.
        missing: names of the runs that are not there.
    """

    name: str
    protocol: str
    fingerprint: str
    data: dict[str, int]
    part: str
    targets: dict[str, int]
    machines: list[str]
    chosen_on: str | None
    validates: bool
    rivals_by: str
    rows: list[Row]
    missing: list[str]

    @property
    def part_name(self) -> str:
        """What people call the split."""
        return "validation" if self.part == "valid" else "test"

    def machines_of(self, row: Row) -> str:
        """Numbers of the machines that made a row, counted from one; empty where there is but one."""
        several = len(self.machines) > 1
        return ", ".join(str(self.machines.index(each) + 1) for each in row.machines) if several else ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def assemble(plan: Plan) -> list[Assembled]:
    """All tables of the plan that have a result.

    Raises:
        InputError: a result file is damaged, or was made with other settings or other data than its neighbours.
    """
    found = [_table(plan, table) for table in plan.tables()]
    return [each for each in found if each is not None]


def _table(plan: Plan, table: Table) -> Assembled | None:
    records, missing = _records(plan, table)
    if not any(records.values()):
        return None
    every = [found for own in records.values() for found in own]
    if len({found["fingerprint"] for found in every}) > 1:
        raise InputError(
            f"the results in {plan.places.results / table.name} are of different data; delete the old ones"
        )
    rows: list[Row] = []
    queries: dict[str, Queries] = {}
    for model in plan.spec.model:
        if own := records[model.label]:
            queries[model.label] = queries_of(own, f"{table.name}/{model.label}")
            rows.append(row_of(model, table.name, own, queries[model.label]))
    chooser = plan.spec.chooser(table)
    validating = table if table.validates else chooser
    figures = _validation(plan, validating) if validating else {}
    validated = all(row.label in figures for row in rows if not row.ours)
    if not validated:
        figures = {row.label: row.metrics[SELECTION_METRIC] for row in rows}
    compared = []
    for row in rows:
        rival = best_rival(row, rows, figures)
        facts = against(row, queries[row.label], rival, queries[rival.label]) if rival else {}
        shares = shares_of_time(row.label, records) if row.ours else {}
        compared.append(replace(row, time_shares=shares, **facts))
    shown = {model.label for model in plan.models(table)}
    return Assembled(
        name=table.name,
        protocol=table.protocol.describe(domains=has_domains(every[0].get("groups", ()))),
        fingerprint=every[0]["fingerprint"],
        data=every[0]["data"],
        part=plan.spec.part,
        targets={key: every[0][key] for key in ("users", "queries")},
        machines=sorted({describe(found["machine"]) for found in every}),
        chosen_on=chooser.name if chooser else None,
        validates=table.validates,
        rivals_by="validation" if validated else "test",
        rows=sorted((row for row in compared if row.label in shown), key=lambda row: -row.metrics[SELECTION_METRIC]),
        missing=missing + _untried(plan, table, records),
    )


def _records(plan: Plan, table: Table) -> tuple[dict[str, list[dict[str, Any]]], list[str]]:
    """Results by label, of all rows, and names of those that are asked for and not there."""
    whole = Plan(spec=plan.spec, places=plan.places, former=True)
    found: dict[str, dict[str, dict[str, Any]]] = {model.label: {} for model in plan.spec.model}
    missing = []
    asked = {slot.name for slot in plan.slots()}
    for slot in whole.slots():
        if slot.table.name != table.name or slot.trial is not None:
            continue
        result = whole.finished(slot)
        if result is not None:
            found[slot.model.label][slot.name] = result
        elif slot.name in asked:
            missing.append(slot.name)
    for own in found.values():  # as a model was, and as it is today, do not make one row
        former = [name for name, result in own.items() if is_former(result)]
        for name in former if len(former) < len(own) else ():
            del own[name]
            missing += [name] if name in asked else []
    records = {label: list(own.values()) for label, own in found.items()}
    return records, missing


def _untried(plan: Plan, table: Table, records: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Names of the trials that are not there and that a row which is there should have been chosen by."""
    names = []
    for model in plan.models(table):
        if records[model.label] and model.runs_here:
            names += [slot.name for slot in plan.trials(table, model) if plan.finished(slot) is None]
    return names


def _validation(plan: Plan, table: Table) -> dict[str, float]:
    """Mean validation NDCG@10 by label."""
    records, _ = _records(plan, table)
    found = {
        label: [each["validation"][SELECTION_METRIC] for each in own if each["validation"]]
        for label, own in records.items()
    }
    return {label: sum(values) / len(values) for label, values in found.items() if values}
