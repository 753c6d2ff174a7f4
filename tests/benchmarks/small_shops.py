"""Four shops small enough for tests, as they lie in the folder of data sets."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[2]
SHOPS = ("beauty", "toys", "health", "clothing")
USERS, ITEMS, DAY = 60, 40, 86_400


def write_shops(folder: Path) -> None:
    """A third of the users of Beauty and of Toys are the same people."""
    for number, shop in enumerate(SHOPS):
        rng = np.random.default_rng(number)
        lengths = rng.integers(3, 9, USERS)
        events = {
            "user_id": np.repeat(100 + np.arange(USERS), lengths),
            "item_id": np.concatenate([100 + rng.permutation(ITEMS)[:length] for length in lengths]),
            "timestamp": np.concatenate([np.sort(rng.integers(0, 6, length)) for length in lengths]) * DAY,
        }
        ids = 100 + np.arange(ITEMS)
        titles = {"item_id": ids, "title": [f"{shop} thing {i}" for i in ids], "asin": [f"B{i}" for i in ids]}
        place = folder / f"amazon2014-{shop}"
        place.mkdir(parents=True)
        pq.write_table(pa.table(events), place / "interactions.parquet")
        pq.write_table(pa.table(titles), place / "items.parquet")
        if shop in ("beauty", "toys"):
            people = np.arange(USERS) + (0 if shop == "beauty" else USERS * 2 // 3)
            known = {"user_id": 100 + np.arange(USERS), "reviewer_id": [f"A{person:03d}" for person in people]}
            pq.write_table(pa.table(known), place / "users.parquet")
