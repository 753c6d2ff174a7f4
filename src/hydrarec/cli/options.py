"""Options that several commands share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter, Token


def _whole(_: Any, tokens: Sequence[Token]) -> int:
    """A whole number, written like 1000000, 1_000_000 or 1e6."""
    text = tokens[0].value
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not number.is_integer():
        raise ValueError(f"{text!r} is no whole number")
    return int(number)


Flag = Annotated[bool, Parameter(negative="", show_default=False)]
Json = Annotated[Flag, Parameter(name="--json", help="Print one JSON object, nothing else.")]
Count = Annotated[int, Parameter(converter=_whole)]
MaybeCount = Annotated[int | None, Parameter(converter=_whole)]
Set = Annotated[list[str] | None, Parameter(name="--set", negative="")]
Out = Annotated[Path, Parameter(help="Folder to write.")]


@Parameter(name="*", group="Events")
@dataclass(frozen=True, kw_only=True)
class Columns:
    """How to read the events."""

    user: str | None = None
    "Column of the user; guessed from usual names."
    item: str | None = None
    "Column of the item; guessed from usual names."
    time: str | None = None
    "Column of the time; guessed from usual names."
    no_time: Flag = False
    "The events have no time; the order of the rows is the order of the events."
    rating: str | None = None
    "Column of a rating to keep."
    domain: str | None = None
    "Column of the item's domain, such as a shop; an item belongs to one."
    items: Annotated[list[Path] | None, Parameter(negative="")] = None
    "File with an item id and text about it, such as a title; one for each source."
    strict: Flag = False
    "An item that is missing in the file of --items is an error."
    min_user: Count = 1
    "Drop users with fewer events, in turn with --min-item. Events of the test part count too."
    min_item: Count = 1
    "Drop items with fewer events."
    memory: str | None = None
    "Memory that preparing may take in all, such as 4GB."

    def given(self) -> dict[str, Any]:
        """Those that differ from their defaults, as keywords of ``prepare``."""
        plain = Columns()
        given = {key: value for key, value in vars(self).items() if value != getattr(plain, key)}
        if given.pop("no_time", False):
            given["time"] = False
        return given


@Parameter(name="*", group="Protocol")
@dataclass(frozen=True, kw_only=True)
class ProtocolChoice:
    """How to split and measure."""

    protocol: Literal["time", "loo", "hstu"] | None = None
    "time: a global boundary, the honest default; loo: the last event tests; hstu: as loo, without validation."
    target: Literal["last", "next", "every"] | None = None
    "time: which events after the boundary are asked for."
    quantile: float | None = None
    "time: the boundary as a quantile of all times."
    boundary: str | None = None
    "time: the boundary as a date or in seconds since 1970."

    domains: Literal["own", "all"] | None = None
    "Where the data has domains: rank the items of the target's own, or of all."

    def fields(self) -> dict[str, Any]:
        """Fields of the protocol that were given."""
        from hydrarec.data.reading.times import instant

        named: dict[str, Any] = {"target": self.target, "quantile": self.quantile, "domains": self.domains}
        if self.boundary is not None:
            named["boundary"] = instant(self.boundary)
        return {key: value for key, value in named.items() if value is not None}
