"""Settings as plain tables (TOML, ``--set``) and as the frozen dataclasses that the rooms declare."""

import difflib
import json
import tomllib
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from hydrarec.errors import InputError

_SHOWN = 30  # names in a message

C = TypeVar("C")


def build(cls: type[C], mapping: Mapping[str, Any], where: str) -> C:
    """Make the dataclass ``cls`` from plain values, checked and converted to the types of its fields.

    A whole float serves as an int, an int as a float, a list as a tuple, and ``"none"`` as None (TOML has none).

    Args:
        cls: a dataclass; fields of bool, int, float, str, Path, Literal, tuple, dict, dataclass types and unions.
        mapping: field name to value.
        where: what messages call the table: ``model`` gives ``model.d_model``.

    Raises:
        InputError: an unknown key, a missing or wrong value, or a value that ``cls`` itself refuses.
    """
    parts = fields(cast(Any, cls))  # no type says "a dataclass"
    names = [field.name for field in parts]
    types_by_name = get_type_hints(cls)
    for key in mapping:
        if key not in names:
            raise InputError(f"{where} has no setting {key!r}{nearest(key, names)}")
    values = {key: _convert(value, types_by_name[key], f"{where}.{key}") for key, value in mapping.items()}
    for field in parts:
        if field.name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise InputError(f"{where}.{field.name} is missing; it has no default")
    try:
        return cls(**values)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error


def override(
    mapping: Mapping[str, Any], settings: Iterable[str], sections: Mapping[str, type] | None = None
) -> dict[str, Any]:
    """A copy of ``mapping`` with each ``key=value`` of ``settings`` put in, later ones last.

    Args:
        mapping: tables by section name.
        settings: ``train.lr=1e-3``: a dotted key and a TOML value; what is no TOML value is taken as text.
        sections: the dataclass of each section. A key without a section belongs to the only one that has it.

    Raises:
        InputError: a setting without ``=``, a bare key of no or of several sections, a key through a plain value.
    """
    result: dict[str, Any] = _copy(mapping)
    for setting in settings:
        key, equals, text = setting.partition("=")
        path = key.strip().split(".")
        if not equals or not all(path):
            raise InputError(f"--set {setting!r} is not of the form section.key=value")
        if len(path) == 1:
            path = [_section_of(path[0], sections or {}), *path]
        table = result
        for part in path[:-1]:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise InputError(f"--set {setting!r}: {part} is a value, not a table")
        table[path[-1]] = _toml_value(text.strip())
    return result


def as_overrides(settings: Mapping[str, Any]) -> list[str]:
    """Settings, as tables or by dotted key, in the form that ``override`` takes; NumPy's numbers are numbers."""
    result = []
    for key, value in settings.items():
        if isinstance(value, Mapping):
            result += [f"{key}.{each}" for each in as_overrides(value)]
        else:
            plain = value.item() if hasattr(value, "item") else value
            result.append(f"{key}={'none' if plain is None else json.dumps(plain, default=str)}")
    return result


def read_recipe(path: Path, sections: Sequence[str]) -> dict[str, Any]:
    """Read a TOML file of tables named in ``sections``.

    Raises:
        InputError: the file is missing, is not TOML (with the line), or has anything else at its top level.
    """
    try:
        recipe = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"the recipe {path} does not exist; name a TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"the recipe {path} is not valid TOML: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the recipe {path} cannot be read: {error}") from error
    for name, table in recipe.items():
        if name not in sections:
            raise InputError(f"the recipe {path} has an unknown entry {name!r}{nearest(name, sections)}")
        if not isinstance(table, dict):
            raise InputError(f"the recipe {path}: {name} must be a table, [{name}]")
    return recipe


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown ``word``: the nearest known one, or the first 30 of them."""
    known = list(known)
    return _meant(word, known) or f"; there are {', '.join(known[:_SHOWN])}{' ...' * (len(known) > _SHOWN)}"


def _meant(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _section_of(key: str, sections: Mapping[str, type]) -> str:
    keys = {name: [field.name for field in fields(cls)] for name, cls in sections.items()}
    owners = [name for name, names in keys.items() if key in names]
    if len(owners) > 1:
        raise InputError(f"{key!r} is ambiguous; write {' or '.join(f'{name}.{key}' for name in owners)}")
    if not owners:
        known = [each for names in keys.values() for each in names]
        raise InputError(f"no section has a setting {key!r}{nearest(key, known)}")
    return owners[0]


def _toml_value(text: str) -> Any:
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return table["value"] if len(table) == 1 else text


def _copy(value: Any) -> Any:
    return {key: _copy(part) for key, part in value.items()} if isinstance(value, Mapping) else value


def _convert(value: Any, wanted: Any, where: str) -> Any:
    """``value`` as the type ``wanted``, or an error that names ``where``."""
    origin, parts = get_origin(wanted), get_args(wanted)
    if wanted is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(value, parts, where)
    if origin is Literal:
        # The types too: True == 1 in Python.
        if not any(value == part and type(value) is type(part) for part in parts):
            hint = _meant(value, parts) if isinstance(value, str) and isinstance(parts[0], str) else ""
            raise InputError(f"{where} is {value!r}; it must be one of {', '.join(map(repr, parts))}{hint}")
        return value
    if origin is tuple:
        return _convert_tuple(value, parts, where)
    if is_dataclass(wanted) and isinstance(wanted, type):
        if not isinstance(value, Mapping):
            raise _wrong(value, "a table", where)
        return build(wanted, value, where)
    return _convert_plain(value, origin or wanted, where)


def _convert_union(value: Any, parts: tuple[Any, ...], where: str) -> Any:
    if types.NoneType in parts and (value is None or value == "none"):
        return None
    arms = [part for part in parts if part is not types.NoneType]
    for arm in arms[:-1]:
        try:
            return _convert(value, arm, where)
        except InputError:
            continue
    return _convert(value, arms[-1], where)


def _convert_tuple(value: Any, parts: tuple[Any, ...], where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong(value, "a list", where)
    inner = parts[:1] * len(value) if len(parts) == 2 and parts[1] is Ellipsis else parts
    if len(inner) != len(value):
        raise InputError(f"{where} has {len(value)} entries; it must have {len(inner)}")
    return tuple(_convert(part, kind, f"{where}[{i}]") for i, (part, kind) in enumerate(zip(value, inner, strict=True)))


def _convert_plain(value: Any, wanted: type, where: str) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if wanted is float and number:
        return float(value)
    if wanted is int and number and value == value // 1:
        return int(value)
    if wanted is Path and isinstance(value, str | Path):
        return Path(value)
    if wanted in (bool, str, dict) and isinstance(value, wanted):
        return value
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", dict: "a table"}
    raise _wrong(value, words.get(wanted, wanted.__name__), where)


def _wrong(value: Any, wanted: str, where: str) -> InputError:
    return InputError(f"{where} is {value!r}; it must be {wanted}")
