import json
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from hydrarec.data.fingerprint import fingerprint
from hydrarec.data.folder import is_dataset
from hydrarec.data.protocol import Protocol
from hydrarec.data.store import Dataset
from hydrarec.errors import HydrarecError, InputError


@pytest.fixture
def dataset():
    return Dataset.from_arrays(
        np.array([0, 1, 2, 1, 2, 0]),
        np.array([0, 3, 3, 6]),
        times=np.array([1, 2, 2, 1, 5, 9]),
        columns={"rating": np.arange(6, dtype=np.float32)},
        item_ids=["a", "b", "ß"],
        user_ids=[5, 7, 11],
        item_columns={"title": ["A", None, "ß!"]},
        protocol=Protocol.named("loo"),
        statistics={"source": "hand"},
    )


@pytest.fixture
def folder(dataset, tmp_path):
    dataset.save(tmp_path / "set")
    return tmp_path / "set"


def test_save_and_open_give_the_same_back(dataset, folder):
    back = Dataset.open(folder)
    assert is_dataset(folder)
    assert (back.n_users, back.n_items, back.n_events) == (3, 3, 6)
    for name in ("items", "times", "offsets"):
        assert isinstance(getattr(back, name), np.memmap)
        np.testing.assert_array_equal(getattr(back, name), getattr(dataset, name))
    np.testing.assert_array_equal(back.columns["rating"], np.arange(6))
    assert back.item_table.to_pylist()[2] == {"item": "ß", "events": 2, "title": "ß!"}
    assert back.user_table["events"].to_pylist() == [3, 0, 3]
    assert (back.protocol, back.fingerprint, back.path) == (dataset.protocol, dataset.fingerprint, folder)
    assert back.statistics == {"source": "hand"}
    back.verify()


def test_the_name_of_a_folder_is_no_column(dataset, tmp_path):
    dataset.save(tmp_path / "day=1" / "set")
    assert Dataset.open(tmp_path / "day=1" / "set").item_table.column_names == ["item", "events", "title"]


def test_an_existing_folder_is_replaced_only_on_request(dataset, folder):
    with pytest.raises(InputError, match="overwrite"):
        dataset.save(folder)
    assert dataset.save(folder, overwrite=True).n_events == 6


def test_without_times(tmp_path):
    dataset = Dataset.from_arrays(np.array([0, 1]), np.array([0, 2]))
    assert not dataset.has_times
    assert dataset.protocol.split == "hstu"
    assert not dataset.save(tmp_path / "set").has_times


@pytest.mark.parametrize("name", ["items.npy", "times.npy", "offsets.npy", "columns/rating.npy", "items.parquet"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "overwritten"])
def test_damage_is_named_with_the_remedy(folder, name, damage):
    file = folder / name
    whole = file.read_bytes()
    file.unlink()
    if damage == "truncated":
        file.write_bytes(whole[:-1])
    elif damage == "overwritten":
        file.write_bytes(b"x" * len(whole))
    with pytest.raises(InputError, match=rf"{name}.*hydrarec prepare"):
        Dataset.open(folder)


def test_arrays_of_another_data_set_do_not_fit(folder):
    np.save(folder / "items.npy", np.zeros(5, np.int32))
    with pytest.raises(InputError, match=r"items\.npy is damaged"):
        Dataset.open(folder)
    np.save(folder / "items.npy", np.zeros(6, np.int32))
    with pytest.raises(InputError, match="differs from its fingerprint"):
        Dataset.open(folder).verify()
    np.save(folder / "offsets.npy", np.zeros(4, np.int64))
    with pytest.raises(InputError, match=r"offsets\.npy does not fit"):
        Dataset.open(folder)


def edit_head(folder, **values):
    head = json.loads((folder / "dataset.json").read_text()) | values
    (folder / "dataset.json").write_text(json.dumps(head))


def test_a_newer_version_is_refused(folder):
    edit_head(folder, version=2)
    with pytest.raises(InputError, match=r"newer hydrarec .*upgrade"):
        Dataset.open(folder)


@pytest.mark.parametrize("values", [{"counts": {}}, {"protocol": {"split": "never"}}, {"counts": {"users": "x"}}])
def test_a_damaged_head_is_refused(folder, values):
    edit_head(folder, **values)
    with pytest.raises(InputError):
        Dataset.open(folder)


def test_what_is_no_data_set_is_refused(tmp_path, folder):
    with pytest.raises(InputError, match="not a folder"):
        Dataset.open(tmp_path / "absent")
    with pytest.raises(InputError, match="is this a data set folder"):
        Dataset.open(tmp_path)
    (tmp_path / "dataset.json").write_text("{}")
    with pytest.raises(InputError, match="not a data set folder"):
        Dataset.open(tmp_path)
    (folder / "dataset.json").write_text('{"format":')
    with pytest.raises(InputError, match="cannot be read"):
        Dataset.open(folder)


def test_a_full_disk_leaves_the_old_data_set(dataset, folder, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hydrarec.data.store.pq.write_table", full)
    with pytest.raises(HydrarecError, match="No space left"):
        dataset.save(folder, overwrite=True)
    Dataset.open(folder).verify()
    assert [path.name for path in folder.parent.iterdir()] == ["set"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"items": [0, 3], "offsets": [0, 2], "item_ids": [1, 2]}, "item rows"),
        ({"items": [0, -1], "offsets": [0, 2]}, "item rows"),
        ({"items": [0, 0], "offsets": [0, 1]}, "offsets"),
        ({"items": [0, 0], "offsets": [0, 2], "times": [1]}, "1 times for 2"),
        ({"items": [0, 0], "offsets": [0, 2], "times": [2, 1]}, "backwards within a user at event 1"),
        ({"items": [0, 0], "offsets": [0, 2], "item_ids": ["b", "a"]}, "ascending"),
        ({"items": [0, 0], "offsets": [0, 1, 2], "user_ids": [1, 1]}, "unique"),
    ],
)
def test_arrays_that_do_not_fit_together(arrays, message):
    arrays = {name: np.array(values) if name[-3:] != "ids" else values for name, values in arrays.items()}
    with pytest.raises(InputError, match=message):
        Dataset.from_arrays(**arrays)


def test_times_may_fall_from_user_to_user():
    Dataset.from_arrays(np.zeros(3, int), np.array([0, 0, 1, 1, 3, 3]), times=np.array([9, 1, 2]))


def test_fingerprint_sees_content_and_not_chunks(dataset):
    def of(items=dataset.items, ids=("a", "b", "ß"), chunks=1):
        bounds = np.linspace(0, len(ids), chunks + 1).astype(int)
        parts = [pa.array(ids[a:b], pa.string()) for a, b in pairwise(bounds)]
        return fingerprint(items, dataset.times, dataset.offsets, pa.chunked_array(parts), pa.chunked_array([[1]]))

    assert of() == of(chunks=3) == of(chunks=2)
    assert of(items=dataset.items[::-1]) != of()
    assert of(ids=("ab", "", "ß")) != of()
