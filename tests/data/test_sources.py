"""Every kind of source gives the same data set."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hydrarec.data.prepare import prepare
from hydrarec.errors import InputError

N = 300
RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "user_id": RNG.integers(0, 20, N),
        "item_id": [f"item, {i} ü" for i in RNG.integers(0, 12, N)],
        "timestamp": RNG.integers(1_500_000_000, 1_500_000_040, N),  # many ties
        "rating": RNG.integers(1, 6, N) / 2,
    }
)
EXPECTED = FRAME.sort_values(["user_id", "timestamp"], kind="stable")


def zstd(data: bytes) -> bytes:
    return pa.compress(data, "zstd", asbytes=True)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def csv_of(frame: pd.DataFrame, **options: object) -> bytes:
    return frame.to_csv(index=False, **options).encode()


def recbole() -> bytes:
    types = {"user_id": "token", "item_id": "token", "timestamp": "float", "rating": "float"}
    return csv_of(FRAME.rename(columns={name: f"{name}:{kind}" for name, kind in types.items()}), sep="\t")


def parquet(folder: Path) -> Path:
    FRAME.to_parquet(folder / "events.parquet", row_group_size=37)
    return folder / "events.parquet"


def parts(folder: Path) -> Path:
    (folder / "parts").mkdir()
    for i in range(3):
        write(folder / "parts" / f"part-{i}.csv.gz", gzip.compress(csv_of(FRAME[i * 100 : (i + 1) * 100])))
    return folder / "parts"


JSON = FRAME.to_json(orient="records", lines=True).encode()
SOURCES = {
    "csv": lambda d: write(d / "a.csv", csv_of(FRAME)),
    "csv with a byte order mark and semicolons": lambda d: write(
        d / "a.csv", b"\xef\xbb\xbf" + csv_of(FRAME, sep=";", lineterminator="\r\n")
    ),
    "csv.gz": lambda d: write(d / "a.csv.gz", gzip.compress(csv_of(FRAME))),
    "csv.zst": lambda d: write(d / "a.csv.zst", zstd(csv_of(FRAME))),
    "tsv": lambda d: write(d / "a.tsv", csv_of(FRAME, sep="\t")),
    "jsonl": lambda d: write(d / "a.jsonl", JSON),
    "jsonl.gz": lambda d: write(d / "a.jsonl.gz", gzip.compress(JSON)),
    "jsonl.zst": lambda d: write(d / "a.jsonl.zst", zstd(JSON)),
    "inter": lambda d: write(d / "a.inter", recbole()),
    "parquet": parquet,
    "folder": parts,
    "pattern": lambda d: parts(d) / "part-*.csv.gz",
    "pandas": lambda d: FRAME,
    "pandas with an index": lambda d: FRAME.set_axis(np.arange(N)[::-1]),
    "polars": lambda d: pl.from_pandas(FRAME),
    "arrow": lambda d: pa.Table.from_pandas(FRAME),
    "arrow reader": lambda d: pa.Table.from_pandas(FRAME).to_reader(max_chunksize=50),
}


@pytest.fixture(scope="module")
def fingerprint():
    return prepare(FRAME).fingerprint


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_gives_the_same_data_set(kind, tmp_path, fingerprint):
    dataset = prepare(SOURCES[kind](tmp_path), tmp_path / "set")
    assert dataset.fingerprint == fingerprint
    np.testing.assert_allclose(dataset.columns["rating"], EXPECTED["rating"])
    assert dataset.statistics["columns"]["rating"] == "rating"


def test_the_content_is_that_of_a_stable_sort():
    dataset = prepare(FRAME)
    items = np.array(dataset.item_table["item"].to_pylist())
    users = np.repeat(dataset.user_table["user"].to_numpy(), np.diff(dataset.offsets))
    assert items[dataset.items].tolist() == EXPECTED["item_id"].tolist()
    assert users.tolist() == EXPECTED["user_id"].tolist()
    assert dataset.times.tolist() == EXPECTED["timestamp"].tolist()
    assert items.tolist() == sorted(items)
    assert dataset.item_table["events"].to_pylist() == np.bincount(dataset.items).tolist()


@pytest.mark.parametrize("kind", ["csv", "folder", "parquet", "arrow", "polars"])
def test_ties_keep_the_order_of_a_large_source(kind, tmp_path):
    n = 400_000
    rng = np.random.default_rng(1)
    table = pa.table({"user": rng.integers(0, 50, n), "item": np.arange(n), "time": rng.integers(0, 3, n)})
    if kind == "parquet":
        pq.write_table(table, tmp_path / "a.parquet", row_group_size=30_000)
    elif kind == "csv":
        table.to_pandas().to_csv(tmp_path / "a.csv", index=False)
    elif kind == "folder":
        for i in range(4):
            pq.write_table(table.slice(i * n // 4, n // 4), tmp_path / f"{i}.parquet", row_group_size=30_000)
    frames = {"arrow": table, "polars": pl.from_arrow(table), "folder": tmp_path}
    source = frames.get(kind, tmp_path / f"a.{kind}")
    dataset = prepare(source, threads=4)
    order = np.lexsort((table["time"].to_numpy(), table["user"].to_numpy()))  # stable
    np.testing.assert_array_equal(dataset.items, order)


def test_a_memory_limit_below_the_data_spills_and_gives_the_same():
    n = 400_000
    rng = np.random.default_rng(1)
    table = pa.table({"user": rng.integers(0, 50, n), "item": np.arange(n) % 999, "time": rng.integers(0, 9, n)})
    assert prepare(table, memory="40MB", threads=1).fingerprint == prepare(table).fingerprint


def source_error(source, match):
    with pytest.raises(InputError, match=match):
        prepare(source)


HEADER = b"user_id,item_id,timestamp\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"\n\n", "is empty"),
        ("a.csv", HEADER, "a header but no events"),
        ("a.parquet", b"", "is empty"),
        ("a.jsonl", b"\n", "no events"),
        ("a.csv", b"user,item,item,time\n1,2,3,4\n", "duplicate column names: item"),
        ("a.csv", b"user,item,Item,time\n1,2,3,4\n", "duplicate column names: Item, item"),
        ("a.inter", b"user:token\titem:token\titem:float\n", "duplicate column names: item"),
        ("a.csv", b"user,item,,time\n1,2,3,4\n", "without a name"),
        ("a.csv", HEADER + b"1,2,3\n1,2\n", r"cannot be read: .*Line: 3"),
        ("a.csv", HEADER + b"1,2,3\n1,2,3,4\n", r"cannot be read: .*Line: 3"),
        ("a.csv", b"\xff\xfe\x00user", "save it as UTF-8"),
        ("a.csv", HEADER + b"1,\xff\xfe,3\n", "not UTF-8 text"),
        ("a.csv.gz", b"no gzip at all", "cannot be read"),
        ("a.csv.gz", gzip.compress(csv_of(pd.concat([FRAME] * 50)))[:-9], "cannot be read"),
        ("a.csv.zst", b"no zstd at all", "cannot be read"),
        ("a.parquet", b"PAR1 no parquet at all PAR1", "cannot be read"),
        ("a.jsonl", b'{"user": 1\n', "line 1 is not JSON"),
        ("a.jsonl", b"[1]\n", "line 1 is not a JSON object"),
        ("a.xlsx", b"x", "cannot tell what"),
        ("a", b"x", "cannot tell what"),
    ],
)
def test_bad_files(tmp_path, name, content, message):
    source_error(write(tmp_path / name, content), message)


def test_a_damaged_file_in_a_folder_named_like_a_full_disk(tmp_path):
    (tmp_path / "workspace to write").mkdir()
    source_error(
        write(tmp_path / "workspace to write" / "a.csv", HEADER + b"1,2,3\n1,2\n"), r"cannot be read: .*Line: 3"
    )


def test_truncated_parquet(tmp_path):
    path = parquet(tmp_path)
    path.write_bytes(path.read_bytes()[:-50])
    source_error(path, "is it damaged")


def test_a_damaged_parquet_page(tmp_path):
    path = parquet(tmp_path)
    content = bytearray(path.read_bytes())
    content[40:400] = b"\xff" * 360
    path.write_bytes(content)
    source_error(path, "cannot be read")


def test_bad_places(tmp_path):
    source_error(tmp_path / "absent.csv", "does not exist")
    source_error(tmp_path / "*.csv", "holds no files")
    source_error(tmp_path, "holds no files")
    source_error(42, "int")
    write(tmp_path / "a.csv", csv_of(FRAME))
    write(tmp_path / "b.csv", csv_of(FRAME.rename(columns={"rating": "stars"})))
    source_error(tmp_path, "other columns")
    write(tmp_path / "b.csv", b"").rename(tmp_path / "b.tsv")
    source_error(tmp_path, "mixes csv and tsv")


def test_a_frame_with_duplicate_columns():
    source_error(pd.concat([FRAME, FRAME[["item_id"]]], axis=1), "cannot be read|duplicate")
    source_error(pa.table([[1], [2], [3]], ["user", "item", "item"]), "duplicate")
