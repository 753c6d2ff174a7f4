"""Which column is the user, the item, the time: as told, or guessed from usual names."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from hydrarec.errors import InputError

# Lower case, without underscores, blanks and dashes.
_USUAL = {
    "user": ("user userid uid customer customerid visitor visitorid session sessionid reviewerid memberid accountid"),
    "item": "item itemid iid movie movieid product productid asin parentasin sku article articleid track trackid "
    "song songid book bookid recipeid gameid appid stockcode videoid newsid",
    "time": "timestamp time ts unixtimestamp unixtime unixreviewtime datetime date eventtime createdat "
    "reviewtime clicktime invoicedate",
    "rating": "rating ratings stars score",
    "domain": "domain",
}


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Column names of a source; None where it has no such column."""

    user: str
    item: str
    time: str | None
    rating: str | None = None
    domain: str | None = None

    def describe(self) -> str:
        return "columns: " + ", ".join(f"{role} = {name}" for role, name in asdict(self).items() if name)


def choose_columns(
    available: Sequence[str],
    *,
    user: str | None = None,
    item: str | None = None,
    time: str | bool | None = None,
    rating: str | None = None,
    domain: str | bool | None = None,
    place: str = "the source",
) -> Columns:
    """Map the roles to columns: the given names, else the only column with a usual name.

    Args:
        available: the columns that exist.
        time: None: guess; False: there is no time and the rows are in order; True: guess, and there must be one.
        rating, domain: None: guess, and do without where none is found. ``domain=False``: do without.

    Raises:
        InputError: a given column does not exist; user, item or time is missing or ambiguous.
    """
    named = domain if isinstance(domain, str) else None
    return Columns(
        user=choose("user", user, available, place),
        item=choose("item", item, available, place),
        time=_choose_time(time, available, place),
        rating=choose_optional("rating", rating, available, place),
        domain=None if domain is False else choose_optional("domain", named, available, place),
    )


def choose(role: str, given: str | None, available: Sequence[str], place: str, *, remedy: str = "") -> str:
    """The column of ``role``; see ``choose_columns``. ``remedy`` is what else a caller can do."""
    if given is not None:
        return _given(role, given, available, place)
    found = _guess(role, available)
    if len(found) == 1:
        return found[0]
    problem = (
        f"{' and '.join(found)} could each be it"
        if found
        else "none has a usual name for it (is the header line missing?)"
    )
    raise InputError(
        f"which column of {place} is the {role}? {problem}; "
        f"name it with --{role} COLUMN{remedy}. {_existing(available)}"
    )


def _choose_time(given: str | bool | None, available: Sequence[str], place: str) -> str | None:
    if given is False:
        return None
    if given is True:
        return choose("time", None, available, place)
    return choose("time", given, available, place, remedy=", or --no-time if the rows are already in order of time")


def choose_optional(role: str, given: str | None, available: Sequence[str], place: str) -> str | None:
    """The column of ``role``, None where there is none; see ``choose_columns``."""
    if given is not None:
        return _given(role, given, available, place)
    found = _guess(role, available)
    return found[0] if len(found) == 1 else None


def _given(role: str, name: str, available: Sequence[str], place: str) -> str:
    if name in available:
        return name
    same = [column for column in available if column.lower() == name.lower()]
    if len(same) == 1:
        return same[0]
    raise InputError(f"{place} has no column {name!r} (--{role}). {_existing(available)}")


def _guess(role: str, available: Sequence[str]) -> list[str]:
    usual = _USUAL[role].split()
    plain = {column: column.lower().translate(str.maketrans("", "", "_ -")) for column in available}
    return [column for column in available if plain[column] in usual]


def _existing(available: Sequence[str]) -> str:
    shown = ", ".join(available[:30]) + (" ..." if len(available) > 30 else "")
    return f"Its columns are: {shown}"
