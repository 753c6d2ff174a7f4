"""A table of items that come after training, in the form of the item table they are to join."""

import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from hydrarec.data.domains import DOMAIN
from hydrarec.data.reading.engine import engine, to_table
from hydrarec.data.reading.item_text import ItemText, read_text
from hydrarec.errors import InputError


def read_new_items(source: Any, known: pa.Table, item: str | None = None) -> pa.Table:
    """Items of a file or a frame as rows of the table ``known``: its columns, whatever the case of their names.

    What the source has no column for, known items keep; it is null of others.

    Args:
        item: the id column; None: guessed.

    Raises:
        InputError: the source cannot be read; an id is missing, occurs twice, or is no number where ids are; the source
            has no column of text that is known; or a domain is missing or not known.
    """
    kind = "BIGINT" if pa.types.is_integer(known["item"].type) else "VARCHAR"
    with tempfile.TemporaryDirectory() as spill, engine(Path(spill)) as connection:
        names = tuple(known.column_names)
        text = ItemText(source=source, item=item or "item", kind=kind, prefix="", known=names)
        read_text(connection, text, "new_items")
        found = to_table(connection, "SELECT * EXCLUDE (missing) FROM new_items")
    if found["item"].null_count:
        place = pc.index(found["item"].is_null(), True).as_py()
        raise InputError(f"row {place + 1} after the header: the item id is no whole number, as those of the run are")
    named = {f"{DOMAIN}_": DOMAIN} | {name.lower(): name for name in known.column_names}
    found = found.rename_columns([named.get(name.lower(), name) for name in found.column_names])
    texts = [name for name in known.column_names if name not in ("item", "events", DOMAIN)]
    if not set(texts) & set(found.column_names):
        raise InputError(f"there is no column of text that the run has: {', '.join(texts)}; name one of them so")
    if DOMAIN in known.column_names:
        _check_domains(found, known)
    columns = {"item": found["item"], "events": pa.nulls(found.num_rows, known["events"].type).fill_null(0)}
    rows = pc.index_in(found["item"].cast(known["item"].type), known["item"].combine_chunks())  # null: a new one
    for name in known.column_names:
        if name not in columns:
            columns[name] = found[name] if name in found.column_names else known[name].take(rows)
    return pa.table(columns).select(known.column_names).cast(known.schema)


def _check_domains(found: pa.Table, known: pa.Table) -> None:
    names = pc.unique(known[DOMAIN])
    if DOMAIN not in found.column_names or found[DOMAIN].null_count:
        raise InputError(
            f"the run has domains; give each item one in column {DOMAIN!r}: {', '.join(names.to_pylist())}"
        )
    other = found[DOMAIN].filter(pc.invert(pc.is_in(found[DOMAIN], names)))
    if len(other):
        raise InputError(f"the run has no domain {other[0].as_py()!r}; `hydrarec adapt` brings new domains")
