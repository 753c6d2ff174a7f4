"""From the item table to one text an item."""

from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hydrarec.config import nearest
from hydrarec.data.domains import DOMAIN
from hydrarec.errors import InputError
from hydrarec.items.text.config import TextConfig

_string = partial(pa.scalar, type=pa.large_string())
_join = pc.binary_join_element_wise  # its last argument stands between the others

_NO_TEXT = ("item", DOMAIN)  # the shop of an item says nothing of it: without a title it has no text
_BETWEEN = "; "
_BLANK = r"[\p{Cc}\p{Z}]+"  # control characters (line breaks, tabs, NUL) and separators of any script
_VISIBLE = r"[^\p{Cc}\p{Cf}\p{Z}]"  # Cf: marks of direction, joiners


def sentences(items: pa.Table, config: TextConfig) -> pa.Array:
    """The text of every item: ``title: Toy Story; genres: Animation``, or ``Toy Story`` where one field is read.

    Runs of control characters and blanks become one blank. Nothing else is changed: the order of right-to-left text
    and the joiners and selectors of emoji stay. A field that is null or has nothing visible is left out; an item
    without any field has no text, and so no vector from text.

    Args:
        items: I rows; the id column ``item`` and any others. Named fields may be numbers.

    Returns:
        (I,) large_string, null where an item has no text.

    Raises:
        InputError: a field that the table has not or that is no text, or a table without text.
    """
    names = config.fields or _text_columns(items)
    parts = []
    for name in names:
        before = f"{_BETWEEN}{name}: " if len(names) > 1 else _BETWEEN
        part = _join(_string(before), _clean(_column(items, name)), _string(""))
        parts.append(pc.fill_null(part, _string("")))
    joined = pc.utf8_slice_codeunits(_join(*parts, _string("")), len(_BETWEEN))
    return pc.if_else(pc.equal(joined, _string("")), None, joined)


def has_text(texts: pa.Array) -> np.ndarray:
    """(I,) bool: which of ``sentences`` are there."""
    return np.asarray(texts.is_valid())


def _text_columns(items: pa.Table) -> tuple[str, ...]:
    names = tuple(field.name for field in items.schema if field.name not in _NO_TEXT and _is_text(field.type))
    if not names:
        raise InputError("the item table has no column of text; prepare the data with a table of titles: --items FILE")
    return names


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(is_kind(kind) for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _column(items: pa.Table, name: str) -> pa.Array:
    if items.column_names.count(name) != 1:
        raise InputError(f"items.text.fields: the item table has no column {name!r}{nearest(name, items.column_names)}")
    column = items[name]
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    try:
        return column.cast(pa.large_string()).combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(
            f"items.text.fields: the column {name!r} of the item table is {column.type}, not text ({error}); cast it"
        ) from error


def _clean(text: pa.Array) -> pa.Array:
    text = pc.utf8_trim(pc.replace_substring_regex(text, _BLANK, " "), " ")
    return pc.if_else(pc.match_substring_regex(text, _VISIBLE), text, None)
