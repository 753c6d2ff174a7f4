"""Times in any usual form, as whole seconds since 1970 and a finer key to sort by."""

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime

from hydrarec.data.reading.values import Raw
from hydrarec.errors import InputError

# A time in seconds stays below the first bound until the year 5138; in milliseconds it passes it in 1973.
_UNITS = (
    (10**11, 1, "seconds"),
    (10**14, 10**3, "milliseconds"),
    (10**17, 10**6, "microseconds"),
    (float("inf"), 10**9, "nanoseconds"),
)
_DATES = (19_000_101, 21_001_231)  # as whole numbers that say year, month and day
_SHOWN = 60  # characters of what is no time
_REMEDY = "times must all be numbers, or all be dates such as 2024-05-31 or 2024-05-31T12:00:00Z"


@dataclass(frozen=True, kw_only=True)
class Times:
    """How to read the times.

    Attributes:
        expression: SQL of a number that sorts events as finely as the source can.
        per_second: how many of it make a second.
        unit: what the times are, in words.
    """

    expression: str
    per_second: int
    unit: str


def detect_times(raw: Raw) -> Times:
    """Look at every time of ``raw`` and say what they are.

    Numbers may be whole or not, in s, ms, us or ns (told apart by size); text may hold numbers or ISO dates and
    times (UTC where no zone is given).

    Raises:
        InputError: a time is missing, or not of the same kind as the others.
    """
    raw.refuse("time", "time IS NULL", "is no time", "fill it in or filter such rows out")
    kind = raw.type_of("time")
    if kind == "VARCHAR":
        return _detect_text(raw)
    if kind == "DATE" or kind.startswith("TIMESTAMP"):
        fine = kind == "TIMESTAMP_NS"
        expression = f"epoch_{'ns' if fine else 'us'}(time)"
        raw.refuse("time", "NOT isfinite(CAST(time AS TIMESTAMP))", "is no time", "filter such rows out")
        return Times(expression=expression, per_second=10**9 if fine else 10**6, unit=kind.lower())
    if kind in ("FLOAT", "DOUBLE") or kind.startswith("DECIMAL"):
        return _detect_number(raw, "CAST(time AS DOUBLE)", "decimal ")
    if "INT" in kind:
        return _detect_number(raw, "CAST(time AS BIGINT)", "")
    raise InputError(f"{raw.place}, column {raw.names['time']} is of type {kind}; {_REMEDY}")


def _detect_text(raw: Raw) -> Times:
    readings = {
        "try_cast(time AS BIGINT)": "a whole number",
        "try_cast(time AS DOUBLE)": "a number",
        "try_cast(time AS TIMESTAMPTZ)": "a date",
    }
    counts = raw.one(", ".join(f"count({reading})" for reading in readings) + ", count(*)")
    whole, number, date, rows = counts
    if max(number, date) < rows:
        reading = list(readings)[1 if number >= date else 2]
        problem = f"is not {readings[reading]}, as most others are" if max(number, date) else "is no time"
        raw.refuse("time", f"{reading} IS NULL", problem, _REMEDY)
    if date == rows and number < rows:
        return Times(expression="epoch_us(CAST(time AS TIMESTAMPTZ))", per_second=10**6, unit="ISO dates")
    # "1e9" reads as a whole number too; only a point or an exponent makes the texts of one column decimal.
    if whole == rows and not raw.one("bool_or(contains(time, '.') OR contains(lower(time), 'e'))")[0]:
        return _detect_number(raw, "CAST(time AS BIGINT)", "")
    return _detect_number(raw, "CAST(time AS DOUBLE)", "decimal ")


def _detect_number(raw: Raw, expression: str, prefix: str) -> Times:
    if prefix:
        raw.refuse("time", f"NOT isfinite({expression})", "is no time", _REMEDY)
    (largest,) = raw.one(f"max(abs({expression}))")
    _refuse_dates(raw, expression)
    many, unit = per_second(largest)
    smaller_unit = max((bound for bound, *_ in _UNITS if bound <= largest), default=0)
    bad = f"abs({expression}) >= {10**8} AND abs({expression}) < {smaller_unit:.0f}"
    raw.refuse("time", bad, f"is not in {unit}, as the largest is", "bring all times to one unit")
    return Times(expression=expression, per_second=many, unit=f"{prefix}{unit}")


def _refuse_dates(raw: Raw, expression: str) -> None:
    """Raise an ``InputError`` where the numbers are dates such as 20240531: as seconds they would all be of 1970."""
    first, last = raw.one(f"min({expression}), max({expression})")
    if not _DATES[0] <= first < last <= _DATES[1]:
        return
    date = f"try_strptime(CAST(CAST({expression} AS BIGINT) AS VARCHAR), '%Y%m%d')"
    if raw.one(f"bool_and({expression} = floor({expression}) AND {date} IS NOT NULL)")[0]:
        text = f"{first:.0f}"
        raise InputError(
            f"{raw.place}, column {raw.names['time']}: {text} and all others are dates written as whole numbers, which "
            f"would be read as seconds since 1970; write them as {text[:4]}-{text[4:6]}-{text[6:]}"
        )


def per_second(largest: float) -> tuple[int, str]:
    """The unit of times whose largest is this: how many make a second, and its name."""
    return next((many, unit) for bound, many, unit in _UNITS if largest < bound or bound == float("inf"))


def instant(time: float | str | date) -> int:
    """Seconds since 1970 of one time: a number in the units that events may have, an ISO date, or a ``datetime`` (UTC
    where no zone is given). Numbers and dates may be text.

    Raises:
        InputError: it is none of these.
    """
    text = str(time)
    if isinstance(time, str) and _is_date_without_dashes(text):
        dashed = f"{text[:4]}-{text[4:6]}-{text[6:]}"
        raise InputError(
            f"{text!r} is a date or a number of seconds; write {dashed}, or {text}.0 for seconds since 1970"
        )
    try:
        number = float(text)
        return math.floor(number / per_second(abs(number))[0])
    except (ValueError, OverflowError):
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
        raise InputError(f"{shown!r} is no time; give seconds since 1970 or a date such as 2024-05-31") from None
    return math.floor((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _is_date_without_dashes(text: str) -> bool:
    if len(text) != 8 or not text.isdecimal() or not _DATES[0] <= int(text) <= _DATES[1]:
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
