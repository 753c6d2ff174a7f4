"""The protocol: what is trained on, what is asked, and how the answer is counted."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

SplitName = Literal["time", "loo", "hstu"]
TargetName = Literal["last", "next", "every"]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Stored with a data set and printed with every number.

    Attributes:
        split: ``time``: one global boundary, nothing after it is seen in training, and a second boundary inside
            the training part for validation. ``loo``: a user's last event tests, the one before validates.
            ``hstu``: a user's last event tests, everything else trains, no validation.
        quantile: ``time`` only: the boundary is this quantile of all event times; validation uses the same quantile
            of what lies before it.
        boundary: ``time`` only: the boundary itself (seconds since 1970), instead of ``quantile``.
        target: ``time`` only: which of a user's events after the boundary are asked for: the ``last``, the ``next``
            (first), or ``every`` one. Each is asked with all earlier events of that user as its history.
        candidates: ``all`` items of the catalog are ranked, or only those with a ``train`` event (a target outside
            counts as a miss).
        exclude_seen: items of the history are removed from the candidates (the target itself never is).
        cutoffs: the k of HR@k and NDCG@k.
    """

    split: SplitName = "time"
    quantile: float = 0.9
    boundary: int | None = None
    target: TargetName = "last"
    candidates: Literal["all", "train"] = "all"
    exclude_seen: bool = False
    cutoffs: tuple[int, ...] = (1, 5, 10, 50, 200)

    @classmethod
    def named(cls, split: SplitName, **fields: Any) -> "Protocol":
        """The protocol as the field uses that name (targets and seen-item rule included); ``fields`` override."""
        usual: dict[str, dict[str, Any]] = {
            "time": {"candidates": "train"},
            "loo": {},
            "hstu": {"exclude_seen": True},
        }
        return cls(split=split, **{**usual[split], **fields})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
