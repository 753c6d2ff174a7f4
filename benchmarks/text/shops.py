"""The data sets of the text benchmarks: four shops of Amazon (2014), alone, together, and parts of them.

Each is a folder below ``DATA``, made when it is first asked for:

- ``beauty``, ``toys``, ``health``, ``clothing``: one shop; ``two``: Beauty and Toys; ``four``: all;
  ``without-beauty`` ...: the other three;
- ``two-apart``, ``four-apart``: the same shops, and who is in several of them is somebody else in each, so that exactly
  the questions of the single shops are asked;
- ``cold-two``, ``cold-four``: 5 % of each catalog have no event in training (``without_cold``);
- ``adapt-beauty-1`` ...: 1, 5 or 10 % of its users, the catalog whole; ``rest-beauty``: the users of none of these.

Ids are the same in all of them: items are ``beauty:100``; users are reviewers, where the data knows them (Beauty and
Toys share 2,054), and elsewhere ``health:100``.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hydrarec.data.folder import is_dataset
from hydrarec.data.prepare import prepare
from hydrarec.data.protocol import Protocol
from hydrarec.data.store import Dataset
from hydrarec.evaluate.queries import users_of

SOURCES = Path("../shared/datasets")
DATA = Path("runs/text")
SHOPS = ("beauty", "toys", "health", "clothing")
SHARES = (1, 5, 10)  # percent of a shop's users that a model is adapted with
COLD = 0.05  # share of each catalog that is held back
PROTOCOL = Protocol.named("loo", exclude_seen=True)


def shops_of(name: str) -> tuple[str, ...]:
    """The shops in a data set that is no part of another."""
    name, left_out = name.removesuffix("-apart"), name.removeprefix("without-")
    together = {"two": SHOPS[:2], "four": SHOPS, f"without-{left_out}": tuple(s for s in SHOPS if s != left_out)}
    return together.get(name, (name,))


def made(name: str) -> Path:
    """The folder of a data set, which is made if it is not there."""
    folder = DATA / name
    if not is_dataset(folder):
        kind, _, of = name.partition("-")
        if kind == "cold":
            whole = Dataset.open(made(of))
            kept(whole, without_cold(whole, is_cold(whole.item_table["item"]))).save(folder)
        elif kind in ("adapt", "rest"):
            shop, _, percent = of.partition("-")
            whole = Dataset.open(made(shop))
            kept(whole, of_users(whole, percent)).save(folder)
        else:
            apart = name.endswith("-apart")
            tables = {shop: events_and_titles(shop, apart=apart) for shop in shops_of(name)}
            events, titles = ({shop: both[i] for shop, both in tables.items()} for i in range(2))
            prepare(events, folder, items=titles, protocol=PROTOCOL)
    return folder


def events_and_titles(shop: str, *, apart: bool = False) -> tuple[pa.Table, pa.Table]:
    """(user, item, time) in the order of the source, which tells events of one day apart; and (item, title).

    Args:
        apart: users are those of the shop alone, also where it is known who they are in others.
    """
    folder = SOURCES / f"amazon2014-{shop}"
    events, items = (pq.read_table(folder / f"{name}.parquet") for name in ("interactions", "items"))
    users = pc.binary_join_element_wise(pa.scalar(shop), pc.cast(events["user_id"], pa.string()), ":")
    if not apart and (folder / "users.parquet").exists():
        known = pq.read_table(folder / "users.parquet")
        users = known["reviewer_id"].take(pc.index_in(events["user_id"], known["user_id"].combine_chunks()))
    return (
        pa.table({"user": users, "item": events["item_id"], "time": events["timestamp"]}),
        pa.table({"item": items["item_id"], "title": items["title"]}),
    )


def chances(salt: str, ids: Iterable[str]) -> np.ndarray:
    """(n,) a number in [0, 1) for each id, the same on every machine: the first 8 bytes of SHA-256 of ``salt id``."""
    digests = (hashlib.sha256(f"{salt} {each}".encode()).digest()[:8] for each in ids)
    return np.array([int.from_bytes(digest, "big") / 2**64 for digest in digests])


def is_cold(items: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """(n,) bool, which items of these ids are held back."""
    return chances("cold", items.to_pylist()) < COLD


def without_cold(dataset: Dataset, cold: np.ndarray) -> np.ndarray:
    """(E,) bool: all events but those of ``cold`` items (I,) that protocol ``loo`` would train on.

    They stay where they are asked for, as one of a user's last two events. A user of whom fewer than three events are
    left would be trained on whole: there they go too.
    """
    ends = np.asarray(dataset.offsets)[1:]
    owners = users_of(dataset, np.arange(dataset.n_events))
    warm = ~cold[np.asarray(dataset.items)]
    stay = warm | (np.arange(dataset.n_events) >= ends[owners] - 2)
    enough = np.bincount(owners[stay], minlength=dataset.n_users) > 2
    chosen: np.ndarray = stay & (enough[owners] | warm)
    return chosen


def of_users(dataset: Dataset, percent: str) -> np.ndarray:
    """(E,) bool: events of so many percent of the users; empty: of those who are in none of ``SHARES``."""
    found = 100 * chances("adapt", dataset.user_table["user"].to_pylist())
    users: np.ndarray = found < int(percent) if percent else found >= max(SHARES)
    chosen: np.ndarray = users[users_of(dataset, np.arange(dataset.n_events))]
    return chosen


def kept(dataset: Dataset, events: np.ndarray) -> Dataset:
    """The data set of some events (E,) bool, its catalog whole; users without an event go."""
    owners = users_of(dataset, np.flatnonzero(events))
    counts = np.bincount(owners, minlength=dataset.n_users)
    return Dataset.from_arrays(
        np.asarray(dataset.items)[events],
        np.concatenate([[0], np.cumsum(counts[counts > 0])]),
        times=np.asarray(dataset.times)[events],
        item_ids=dataset.item_table["item"],
        user_ids=dataset.user_table["user"].filter(pa.array(counts > 0)),
        item_columns={name: dataset.item_table[name] for name in dataset.item_table.column_names[2:]},
        protocol=dataset.protocol,
    )
