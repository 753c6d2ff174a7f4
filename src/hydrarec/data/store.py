"""The data set: all histories packed into three arrays, with the caller's own ids beside them.

On disk it is a folder: ``items.npy``, ``times.npy``, ``offsets.npy``, ``columns/NAME.npy``,
``items.parquet``, ``users.parquet`` and ``dataset.json``. The arrays are memory-mapped, so that opening costs
nothing. Where days were added (``data.days``), they are joined in memory when it is opened.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hydrarec.data.days import FOLDER, described, join
from hydrarec.data.domains import DOMAIN, domains_of
from hydrarec.data.fingerprint import fingerprint
from hydrarec.data.folder import FORMAT, REMEDY, VERSION, load_array, read_head, read_ids
from hydrarec.data.neighbours import same_user
from hydrarec.data.protocol import Protocol
from hydrarec.errors import InputError
from hydrarec.files import whole_folder, write_json


class NeverError(InputError):
    """A data set never had the fingerprint that is asked for."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """E events of U users on I items. History u is ``items[offsets[u]:offsets[u+1]]``, oldest event first.

    Attributes:
        items: (E,) int32, item rows.
        times: (E,) int64, seconds since 1970; zeros where the events have no time.
        offsets: (U+1,) int64.
        columns: further per-event columns by name, each (E,): ``rating`` float32.
        item_table: I rows: ``item`` (the caller's ids, int64 or string, ascending but for days added), ``events``
            (int64), in data with domains ``domain`` (the name of the item's), then text columns such as ``title``.
        user_table: U rows: ``user`` (ids likewise), ``events`` (int64).
        protocol: how this data set is split and measured.
        fingerprint: hex SHA-256 of events and ids.
        has_times: whether ``times`` means anything.
        statistics: facts about the data and where it came from.
        path: the folder, or None for a data set in memory.
        lineage: fingerprints of what it was before each day that was added, in order.
    """

    items: np.ndarray
    times: np.ndarray
    offsets: np.ndarray
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    item_table: pa.Table
    user_table: pa.Table
    protocol: Protocol
    fingerprint: str
    has_times: bool = True
    statistics: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None
    lineage: tuple[str, ...] = ()

    @property
    def n_users(self) -> int:
        return len(self.offsets) - 1

    @property
    def n_items(self) -> int:
        return int(self.item_table.num_rows)

    @property
    def n_events(self) -> int:
        return len(self.items)

    @property
    def domains(self) -> list[str]:
        """Names of the domains, ascending; empty without domains.

        Raises:
            InputError: an item has no domain where others have one.
        """
        return self._domains[0]

    @property
    def item_domains(self) -> np.ndarray | None:
        """(I,) int16, the place in ``domains`` of each item row's; None without domains. Raises as ``domains``."""
        return self._domains[1]

    @cached_property
    def _domains(self) -> tuple[list[str], np.ndarray | None]:
        return domains_of(self.item_table)

    @classmethod
    def from_arrays(
        cls,
        items: np.ndarray,
        offsets: np.ndarray,
        *,
        times: np.ndarray | None = None,
        columns: Mapping[str, np.ndarray] | None = None,
        item_ids: Any = None,
        user_ids: Any = None,
        item_columns: Mapping[str, Any] | None = None,
        protocol: Protocol | None = None,
        statistics: Mapping[str, Any] | None = None,
    ) -> Self:
        """A data set in memory.

        Args:
            items: (E,) item rows; offsets: (U+1,); times: (E,) seconds, ascending within a user, or None.
            columns: further per-event columns.
            item_ids: (I,) strictly ascending ids; None: 0 to the largest item row. user_ids: (U,), likewise.
            item_columns: text columns (``domain``, ``title`` ...) of the item table, each (I,).

        Raises:
            InputError: the arrays do not fit together.
        """
        items, offsets = np.asarray(items, np.int32), np.asarray(offsets, np.int64)
        n_items = int(items.max(initial=-1)) + 1 if item_ids is None else len(item_ids)
        when = np.zeros(len(items), np.int64) if times is None else np.asarray(times, np.int64)
        _check_events(items, when, offsets, n_items)
        item_table = pa.table(
            {
                "item": _ids(np.arange(n_items) if item_ids is None else item_ids, "item"),
                "events": np.bincount(items, minlength=n_items),
                **(item_columns or {}),
            }
        )
        users = np.arange(len(offsets) - 1) if user_ids is None else user_ids
        user_table = pa.table({"user": _ids(users, "user"), "events": np.diff(offsets)})
        return cls(
            items=items,
            times=when,
            offsets=offsets,
            columns=dict(columns or {}),
            item_table=item_table,
            user_table=user_table,
            protocol=protocol or Protocol.named("hstu" if times is None else "time"),
            fingerprint=fingerprint(items, when, offsets, *identity(item_table, user_table)),
            has_times=times is not None,
            statistics=dict(statistics or {}),
        )

    @classmethod
    def open(cls, path: Path | str, *, upto: str | None = None) -> Self:
        """Open a data set folder; the arrays stay on disk until read, unless days were added.

        Args:
            upto: the fingerprint of what it was before further days were added; None: as it is now.

        Raises:
            InputError: not a data set, made by a newer version, a file is missing, truncated or damaged, or it never
                had this fingerprint.
        """
        dataset = cls._open_alone(Path(path))
        for day in sorted(Path(path).glob(f"{FOLDER}/[0-9]*")):
            if dataset.fingerprint == upto:
                break
            dataset = join(dataset, cls._open_alone(day))
        if upto not in (None, dataset.fingerprint):
            raise NeverError(f"{path} is not, and never was, the data set with the fingerprint {upto}")
        return described(dataset) if dataset.lineage else dataset

    @classmethod
    def _open_alone(cls, path: Path) -> Self:
        head = read_head(path)
        try:
            counts = {name: int(head["counts"][name]) for name in ("users", "items", "events")}
            protocol = Protocol.from_dict(head["protocol"])
            events = (counts["events"],)
            dataset = cls(
                items=load_array(path / "items.npy", np.int32, events),
                times=load_array(path / "times.npy", np.int64, events),
                offsets=load_array(path / "offsets.npy", np.int64, (counts["users"] + 1,)),
                columns={name: load_array(path / "columns" / f"{name}.npy", None, events) for name in head["columns"]},
                item_table=read_ids(path / "items.parquet", "item", counts["items"]),
                user_table=read_ids(path / "users.parquet", "user", counts["users"]),
                protocol=protocol,
                fingerprint=str(head["fingerprint"]),
                has_times=bool(head["has_times"]),
                statistics=dict(head["statistics"]),
                path=path,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path / 'dataset.json'} is damaged ({error!r}); {REMEDY}") from error
        if dataset.offsets[0] != 0 or dataset.offsets[-1] != counts["events"]:
            raise InputError(f"{path / 'offsets.npy'} does not fit the events; {REMEDY}")
        return dataset

    def save(self, path: Path | str, *, overwrite: bool = False) -> Self:
        """Write the folder, whole or not at all, and return the data set opened from it.

        Raises:
            InputError: ``path`` exists and ``overwrite`` is false. HydrarecError: it cannot be written.
        """
        with whole_folder(Path(path), overwrite=overwrite) as folder:
            np.save(folder / "items.npy", self.items)
            np.save(folder / "times.npy", self.times)
            np.save(folder / "offsets.npy", self.offsets)
            (folder / "columns").mkdir()
            for name, column in self.columns.items():
                np.save(folder / "columns" / f"{name}.npy", column)
            self.write_tables(folder)
        return type(self).open(path)

    def write_tables(self, folder: Path) -> None:
        """Write all but the arrays: the two tables and ``dataset.json``."""
        pq.write_table(self.item_table, folder / "items.parquet", compression="zstd")
        pq.write_table(self.user_table, folder / "users.parquet", compression="zstd")
        head = {
            "format": FORMAT,
            "version": VERSION,
            "counts": {"users": self.n_users, "items": self.n_items, "events": self.n_events},
            "has_times": self.has_times,
            "columns": list(self.columns),
            "protocol": self.protocol.to_dict(),
            "fingerprint": self.fingerprint,
            "statistics": self.statistics,
        }
        write_json(folder / "dataset.json", head)

    def with_protocol(self, protocol: Protocol) -> Self:
        """The same events under another protocol (in memory only)."""
        return replace(self, protocol=protocol)

    def verify(self) -> None:
        """Read everything and compare it with the fingerprint.

        Raises:
            InputError: the content has changed since it was prepared.
        """
        if self.lineage and self.path:
            for each in (self.path, *sorted(self.path.glob(f"{FOLDER}/[0-9]*"))):
                self._open_alone(each).verify()
            return
        names = identity(self.item_table, self.user_table)
        if fingerprint(self.items, self.times, self.offsets, *names) != self.fingerprint:
            raise InputError(f"{self.path or 'the data set'} differs from its fingerprint; {REMEDY}")


def identity(
    item_table: pa.Table, user_table: pa.Table
) -> tuple[pa.ChunkedArray, pa.ChunkedArray, pa.ChunkedArray | None]:
    """The columns of the two tables that belong to the fingerprint."""
    domains = item_table[DOMAIN].cast(pa.string()) if DOMAIN in item_table.column_names else None
    return item_table["item"], user_table["user"], domains


def _ids(values: Any, name: str) -> pa.Array:
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else pa.array(values)
    array = array.cast(pa.int64() if pa.types.is_integer(array.type) else pa.string())
    ids = array.to_numpy(zero_copy_only=False)
    if array.null_count or not bool(np.all(ids[:-1] < ids[1:])):
        raise InputError(f"{name} ids must be unique, ascending and without nulls")
    return array


def _check_events(items: np.ndarray, times: np.ndarray, offsets: np.ndarray, n_items: int) -> None:
    if len(offsets) < 1 or offsets[0] != 0 or offsets[-1] != len(items) or np.any(np.diff(offsets) < 0):
        raise InputError(f"offsets must ascend from 0 to the number of events, {len(items)}")
    if len(times) != len(items):
        raise InputError(f"{len(times)} times for {len(items)} events")
    if len(items) and (items.min() < 0 or items.max() >= n_items):
        raise InputError(f"item rows must lie between 0 and {n_items - 1}")
    backwards = (np.diff(times) < 0) & same_user(offsets)
    if np.any(backwards):
        raise InputError(f"times run backwards within a user at event {int(np.argmax(backwards)) + 1}")
