"""Several sources of one data set: what they are called, and what can be said of all of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydrarec.data.reading.source import stem
from hydrarec.errors import InputError

ALONE = ""
"""The name of a source that is the only one, and no domain."""

# Names that tell what a file holds and not where it comes from.
_GENERIC = """
    interactions events event data dataset ratings reviews actions clicks views orders purchases transactions history
    log train all
"""


def by_name(source: Any) -> dict[str, Any]:
    """Sources by the name of their domain, in their order; ``{ALONE: source}`` where there is a single, nameless one.

    Args:
        source: a source, a list of them, or a mapping from names to sources. A path is named after the file or folder,
            or after the folder above it where that name is a generic one.

    Raises:
        InputError: there is none, a name is missing or of no use, or two are the same.
    """
    if isinstance(source, Mapping):
        named = dict(source)
    elif not isinstance(source, list | tuple):
        return {ALONE: source}
    elif len(source) == 1:
        return {ALONE: source[0]}
    else:
        named = {}
        for each in source:
            name = domain_of(each)
            if name in named:
                raise InputError(
                    f"{named[name]} and {each} would both be domain {name!r}; "
                    "rename one of them, or its folder, or in Python give {name: source}"
                )
            named[name] = each
    if not named:
        raise InputError("there is no source; give a path or a data frame")
    for name in named:
        # The name ends at the first colon of an item's id.
        if not isinstance(name, str) or not name or ":" in name:
            raise InputError(f"a domain cannot be called {name!r}; give its source a name, without a colon")
    return named


def texts_of(items: Any, sources: Mapping[str, Any]) -> dict[str, Any]:
    """The item text of those ``sources`` that have one, by name.

    Args:
        items: None, a source of text for the only source, a list of one for each source (or None), or a mapping.

    Raises:
        InputError: ``items`` does not fit the sources.
    """
    if items is None:
        return {}
    if isinstance(items, Mapping):
        if unknown := [name for name in items if name not in sources]:
            known = ", ".join(sources)
            raise InputError(f"there is item text for {unknown[0]!r}, which is no source; the sources are {known}")
        return dict(items)
    given = list(items) if isinstance(items, list | tuple) else [items]
    if len(given) != len(sources):
        raise InputError(
            f"{len(sources)} source{'s' * (len(sources) > 1)} and {len(given)} times item text; "
            "give --items once per source, in the same order"
        )
    return {name: text for name, text in zip(sources, given, strict=True) if text is not None}


def roles_of_several(time: str | bool | None, domain: str | bool | None) -> dict[str, Any]:
    """How to read each of several sources.

    Raises:
        InputError: what cannot be said of several.
    """
    if time is False:
        raise InputError("histories of several sources are merged by time, so all need one; name it with --time")
    if isinstance(domain, str):
        raise InputError(f"several sources are a domain each; leave out --domain {domain}, or give one source")
    return {"time": time or True, "domain": False}


def domain_of(source: Any) -> str:
    """What the domain of one of several sources is called.

    Raises:
        InputError: it is no path.
    """
    if not isinstance(source, str | Path):
        raise InputError(f"a {type(source).__name__} has no name to call its domain by; give {{name: source}}")
    path = Path(source).absolute()
    name = stem(path)
    generic = name.lower() in _GENERIC.split() or any(mark in name for mark in "*?[")
    return path.parent.name if generic else name
