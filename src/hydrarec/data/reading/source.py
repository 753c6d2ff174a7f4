"""Any table of events (or items) as something DuckDB can read: files, folders of files, data frames.

Text files are read as text, column by column; what the text means is decided later, by looking at all of it
rather than at a sample.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from hydrarec.data.reading.engine import disk_is_full
from hydrarec.errors import InputError, first_line

_FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".inter": "recbole",
    ".item": "recbole",
    ".parquet": "parquet",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
}
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}
_KINDS = "CSV, TSV, Parquet, JSON lines (.json, .jsonl, .ndjson) or RecBole .inter; text may end in .gz or .zst"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A table in its own order, as a DuckDB ``FROM`` clause.

    Attributes:
        name: what messages call it.
        columns: its column names.
        relation: the ``FROM`` clause.
        text: whether every column is text that may hold numbers.
    """

    name: str
    columns: tuple[str, ...]
    relation: str
    text: bool

    def load(self, connection: duckdb.DuckDBPyConnection, statement: str) -> None:
        """Run ``statement``, which reads the source to its end.

        Raises:
            InputError: the source is damaged somewhere.
        """
        try:
            connection.execute(statement)
        except (duckdb.OutOfMemoryException, duckdb.InterruptException):
            raise
        except duckdb.Error as error:
            if disk_is_full(error):  # the spill folder's disk, not the source
                raise
            raise InputError(f"{self.name} cannot be read: {_detail(error)}") from error


def open_source(connection: duckdb.DuckDBPyConnection, source: Any, *, view: str = "source") -> Source:
    """Make ``source`` readable by ``connection``.

    Args:
        source: the path of a file, of a folder of files, or a pattern (``*``); or anything that streams Arrow
            (``__arrow_c_stream__``: pandas, polars, pyarrow ...).
        view: the name under which a data frame is registered.

    Raises:
        InputError: missing, unreadable, empty, of an unknown kind, or with duplicate column names.
    """
    if is_frame(source):
        return _open_frame(connection, source, view)
    files = files_of(source)
    kinds = {_format(file) for file in files}
    if len({kind for kind, _ in kinds}) > 1:
        raise InputError(f"{source} mixes {' and '.join(sorted(kind for kind, _ in kinds))}; keep one format")
    opened = [_open_file(file, *_format(file)) for file in files]
    for file, other in zip(files[1:], opened[1:], strict=True):
        if other.columns != opened[0].columns:
            raise InputError(f"{file} has other columns than {files[0]}; give all files the same header")
    relation = " UNION ALL ".join(f"SELECT * FROM {each.relation}" for each in opened)
    first = opened[0]
    return Source(name=str(source), columns=first.columns, relation=f"({relation})", text=first.text)


def stem(path: Path) -> str:
    """The file's or folder's name without the endings that tell its format."""
    name = path.name
    for endings in (_COMPRESSIONS, _FORMATS):
        ending = Path(name).suffix
        name = name.removesuffix(ending) if ending.lower() in endings else name
    return name


def quote(name: str) -> str:
    """A column name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: object) -> str:
    """A value as an SQL string."""
    return "'" + str(text).replace("'", "''") + "'"


def is_frame(source: Any) -> bool:
    """Whether this is a data frame and no path."""
    return hasattr(source, "__arrow_c_stream__")


def files_of(source: Any) -> list[Path]:
    """The files of a source that is a path.

    Raises:
        InputError: it is none, or there is none.
    """
    if not isinstance(source, (str, Path)):
        raise InputError(f"cannot read events from a {type(source).__name__}; give a path or a data frame")
    path = Path(source)
    if path.is_file():
        return [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file() and file.name[0] not in "._")
    elif any(mark in path.name for mark in "*?["):
        files = sorted(path.parent.glob(path.name))
    else:
        raise InputError(f"{path} does not exist; check the path")
    if not files:
        raise InputError(f"{path} holds no files; give {_KINDS}")
    return files


def _format(path: Path) -> tuple[str, str]:
    """(format, compression) by the name's endings."""
    endings = [ending.lower() for ending in path.suffixes]
    compression = _COMPRESSIONS.get(endings[-1], "none") if endings else "none"
    endings = endings[:-1] if compression != "none" else endings
    kind = _FORMATS.get(endings[-1]) if endings else None
    if kind is None or (kind == "parquet" and compression != "none"):
        raise InputError(f"cannot tell what {path} is from its name; give {_KINDS}")
    return kind, compression


def _open_file(path: Path, kind: str, compression: str) -> Source:
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty; give a file with a header and events")
        if kind == "parquet":
            names = pq.read_schema(path).names
            relation = f"read_parquet({literal(path)}, binary_as_string=true)"
        elif kind == "json":
            names = _json_names(_text_lines(path, compression), path)
            relation = _json_relation(path, compression, names)
        else:
            names, relation = _open_delimited(path, kind, compression)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error}); save it as UTF-8") from error
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read as {kind}: {first_line(error)}; is it damaged?") from error
    return Source(name=str(path), columns=_unique(names, path), relation=relation, text=kind != "parquet")


def _text_lines(path: Path, compression: str) -> Iterable[str]:
    stream = pa.input_stream(path, compression=None if compression == "none" else compression)
    return io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")


def _open_delimited(path: Path, kind: str, compression: str) -> tuple[list[str], str]:
    lines = _text_lines(path, compression)
    header = next(iter(lines), "").strip("\r\n")
    if not header.strip():
        raise InputError(f"{path} is empty; give a file with a header and events")
    delimiter = "\t" if kind != "csv" else max(",;\t|", key=header.count)
    if kind == "recbole":
        names = [field.partition(":")[0] for field in header.split(delimiter)]  # user_id:token -> user_id
    else:
        names = next(csv.reader(io.StringIO(header), delimiter=delimiter))
    quoting = "" if kind == "recbole" else '"'
    types = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in _unique(names, path))
    return names, (
        f"read_csv({literal(path)}, auto_detect=false, header=true, delim={literal(delimiter)}, "
        f"quote={literal(quoting)}, escape={literal(quoting)}, compression={literal(compression)}, "
        f"columns={{{types}}})"
    )


def _json_names(lines: Iterable[str], path: Path) -> list[str]:
    """The keys of the first thousand objects, in the order of their first appearance."""
    names: dict[str, None] = {}
    for number, line in zip(range(1, 1001), lines, strict=False):
        try:
            row = json.loads(line) if line.strip() else {}
        except json.JSONDecodeError as error:
            raise InputError(f"{path} line {number} is not JSON ({error.msg}); give one object a line") from None
        if not isinstance(row, dict):
            raise InputError(f"{path} line {number} is not a JSON object; give one object a line")
        names.update(dict.fromkeys(row))
    if not names:
        raise InputError(f"{path} holds no events; give one JSON object a line")
    return list(names)


def _json_relation(path: Path, compression: str, names: Iterable[str]) -> str:
    types = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
    return (
        f"read_json({literal(path)}, format='newline_delimited', compression={literal(compression)}, "
        f"columns={{{types}}})"
    )


def _open_frame(connection: duckdb.DuckDBPyConnection, frame: Any, view: str) -> Source:
    name = f"the {type(frame).__module__.partition('.')[0]} {type(frame).__name__}"
    try:
        table = frame if isinstance(frame, pa.Table) else pa.table(frame)
    except (ValueError, TypeError, pa.ArrowException) as error:
        raise InputError(f"{name} cannot be read: {first_line(error)}") from error
    # A pandas frame brings its index along; it is no column of events.
    table = table.select([i for i, n in enumerate(table.column_names) if not n.startswith("__index_level_")])
    columns = _unique(table.column_names, name)
    connection.register(view, table)
    return Source(name=name, columns=columns, relation=view, text=False)


def _unique(names: Iterable[str], place: object) -> tuple[str, ...]:
    names = tuple(names)
    counts = Counter(name.lower() for name in names)
    twice = sorted({name for name in names if counts[name.lower()] > 1})
    if twice:
        raise InputError(f"{place} has duplicate column names: {', '.join(twice)}; rename or drop all but one")
    if "" in counts:
        raise InputError(f"{place} has a column without a name; name it in the header")
    return names


def _detail(error: duckdb.Error) -> str:
    """The lines of a DuckDB message up to its advice, as one."""
    lines = str(error).partition("Possible")[0].splitlines()
    return "; ".join(line.strip() for line in lines[:4] if line.strip())
