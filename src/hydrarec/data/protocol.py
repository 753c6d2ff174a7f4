"""The protocol: what is trained on, what is asked, and how the answer is counted."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from types import NoneType
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from hydrarec.config import nearest
from hydrarec.data.reading.times import instant
from hydrarec.errors import InputError

SplitName = Literal["time", "loo", "hstu"]
TargetName = Literal["last", "next", "every"]

_OF_TIME = ("quantile", "boundary", "target")
_USUAL: dict[str, dict[str, Any]] = {
    "time": {"candidates": "train"},
    "loo": {},
    "hstu": {"exclude_seen": True},
}


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Stored with a data set and printed with every number.

    Attributes:
        split: ``time``: one global boundary, nothing after it is seen in training, and a second boundary
            inside the training part for validation. ``loo``: a user's last event tests, the one before
            validates. ``hstu``: a user's last event tests, everything else trains, no validation.
        quantile: ``time`` only: the boundary is this quantile of all event times; validation uses the same
            quantile of what lies before it.
        boundary: ``time`` only: the boundary itself (seconds since 1970), instead of ``quantile``.
        target: ``time`` only: which of a user's events after the boundary are asked for: the ``last``, the
            ``next`` (first), or ``every`` one. Each is asked with all earlier events of that user as its
            history.
        candidates: ``all`` items of the catalog are ranked, or only those with a ``train`` event (a target
            outside counts as a miss).
        domains: where the data has domains, items of the target's ``own`` are ranked, or those of ``all``.
        exclude_seen: items of the history are removed from the candidates (the target itself never is).
        cutoffs: the k of HR@k and NDCG@k.

    Raises:
        InputError: a field has a value that is not allowed.
    """

    split: SplitName = "time"
    quantile: float = 0.9
    boundary: int | None = None
    target: TargetName = "last"
    candidates: Literal["all", "train"] = "all"
    domains: Literal["own", "all"] = "own"
    exclude_seen: bool = False
    cutoffs: tuple[int, ...] = (1, 5, 10, 50, 200)

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"protocol field {name} is {getattr(self, name)!r}; choose one of {', '.join(allowed)}"
                )
        for name, right, wanted in self._checks():
            if not right:
                raise InputError(f"protocol field {name} is {getattr(self, name)!r}; {wanted}")

    def _checks(self) -> list[tuple[str, bool, str]]:
        """(field, whether its value may stand, what it must be)."""
        of_time = f"it belongs to split time, so leave it out with split {self.split}"
        checks = [
            ("quantile", type(self.quantile) in (int, float) and 0 < self.quantile < 1, "it must lie between 0 and 1"),
            ("boundary", type(self.boundary) in (int, NoneType), "it must be whole seconds since 1970"),
            ("exclude_seen", type(self.exclude_seen) is bool, "it must be true or false"),
            (
                "cutoffs",
                type(self.cutoffs) is tuple and self.cutoffs and all(type(k) is int and k > 0 for k in self.cutoffs),
                "it must be a list of positive whole numbers",
            ),
        ]
        if self.split != "time":
            defaults = {field.name: field.default for field in fields(self)}
            checks += [(name, getattr(self, name) == defaults[name], of_time) for name in _OF_TIME]
        return [(name, bool(right), wanted) for name, right, wanted in checks]

    @classmethod
    def named(cls, split: SplitName, **fields: Any) -> Self:
        """The protocol as the field uses that name, seen-item rule included; ``fields`` override."""
        return cls.from_dict({"split": split, **_USUAL.get(split, {}), **fields})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of ``to_dict``. A missing field takes its default; ``boundary`` may be a date too.

        Raises:
            InputError: an unknown field (the nearest is named), or a value that is not allowed.
        """
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise InputError(f"unknown protocol field {name!r}{nearest(name, known)}")
        given = dict(values)
        if isinstance(given.get("cutoffs"), list):
            given["cutoffs"] = tuple(given["cutoffs"])
        if given.get("boundary") is not None:
            given["boundary"] = instant(given["boundary"])
        return cls(**given)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def describe(self, *, domains: bool = False) -> str:
        """One line under 80 columns.

        Args:
            domains: whether the data has domains.
        """
        if self.split == "time":
            where = f"quantile {self.quantile:g}" if self.boundary is None else f"boundary {self.boundary}"
            what = f"time, {where}, target {self.target}"
        else:
            what = f"{self.split}, target last"
        which = ("unseen " if self.exclude_seen else "") + ("training " if self.candidates == "train" else "")
        apart = domains and self.domains == "own"
        return f"{what}; ranks {which}items by domain" if apart else f"{what}; ranks all {which}items"


_CHOICES = {name: get_args(kind) for name, kind in get_type_hints(Protocol).items() if get_origin(kind) is Literal}
