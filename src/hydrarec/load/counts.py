"""What came of the requests of a load, and how long they took."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from hydrarec.load.client import Answer

Verdict = Literal["good", "refused", "failed"]
QUANTILES = (0.5, 0.95, 0.99)
_SHOWN = 20  # reasons of failures


@dataclass
class Kind:
    """Requests of one kind. ``seconds`` are those of good answers."""

    verdicts: Counter[Verdict] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Counts, and milliseconds at the quantiles."""
        found = {verdict: self.verdicts[verdict] for verdict in ("good", "refused", "failed")}
        times = np.quantile(self.seconds, QUANTILES).tolist() if self.seconds else [None] * len(QUANTILES)
        names = [f"p{quantile * 100:.0f}" for quantile in QUANTILES]
        most = max(self.seconds, default=None)
        return found | {
            f"{name}_ms": None if value is None else round(1000 * value, 2)
            for name, value in zip([*names, "max"], [*times, most], strict=True)
        }


class Counts:
    """Attributes:
    kinds: by name.
    failures: why requests failed, each with how often.
    """

    def __init__(self) -> None:
        self.kinds: dict[str, Kind] = {}
        self.failures: Counter[str] = Counter()
        self.counting = True

    def good(self, kind: str, seconds: float) -> None:
        if self.counting:
            self._kind(kind).verdicts["good"] += 1
            self._kind(kind).seconds.append(seconds)

    def refused(self, kind: str) -> None:
        if self.counting:
            self._kind(kind).verdicts["refused"] += 1

    def failed(self, kind: str, why: str) -> None:
        """Failures count at any time."""
        self._kind(kind).verdicts["failed"] += 1
        reason = f"{kind}: {why}"
        if reason in self.failures or len(self.failures) < _SHOWN:
            self.failures[reason] += 1

    def refuses(self, kind: str, answer: Answer) -> bool:
        """Count an answer that is none of what was expected; whether the server said when to come again."""
        if answer.status in (429, 503) and b"retry-after" in answer.headers:
            self.refused(kind)
            return True
        self.failed(kind, f"status {answer.status}, {answer.body[:200].decode(errors='replace')}")
        return False

    @property
    def total(self) -> Counter[Verdict]:
        return sum((kind.verdicts for kind in self.kinds.values()), Counter[Verdict]())

    def _kind(self, name: str) -> Kind:
        return self.kinds.setdefault(name, Kind())
