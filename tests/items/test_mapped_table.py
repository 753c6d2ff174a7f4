import json
import os
import resource
from unittest.mock import Mock

import pytest
import torch

from hydrarec.errors import HydrarecError, InputError
from hydrarec.items.mapped import MappedTable
from hydrarec.items.rows import RowwiseAdagrad


def train(table, steps=3):
    for step in range(steps):
        table.encode(torch.tensor([step, 4])).square().sum().backward()
        RowwiseAdagrad(table).step()


def contents(table):
    return table.read(torch.arange(table.n_items)), table.squares.clone()


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_was_trained_is_there_when_it_is_opened_again(tmp_path, dtype):
    table = MappedTable.create(tmp_path / "table", 6, 4, dtype=dtype)
    before = contents(table)
    train(table)
    after = contents(table)
    assert not same(before, after)
    again = MappedTable.open(tmp_path / "table")
    assert again.weight.dtype == dtype
    assert same(contents(again), after)
    assert not again.state_dict()


def test_growth_lasts(tmp_path):
    table = MappedTable.create(tmp_path / "table", 6, 4)
    train(table)
    table.add(3)
    after = contents(table)
    assert after[1][6:].tolist() == [0, 0, 0]
    assert same(contents(MappedTable.open(tmp_path / "table")), after)
    assert (tmp_path / "table" / "vectors.bin").stat().st_size == 9 * 4 * 2


def test_a_table_that_cannot_be_written_is_read(tmp_path, monkeypatch):
    table = MappedTable.create(tmp_path / "table", 5, 4)
    before = table.weight.clone()
    with (tmp_path / "table" / "vectors.bin").open("ab") as file:
        file.write(b"what a killed process left")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(os, "truncate", Mock(side_effect=PermissionError))
    found = MappedTable.open(tmp_path / "table")
    assert torch.equal(found.weight, before)
    found.weight.zero_()
    assert torch.equal(MappedTable.open(tmp_path / "table").weight, before)


def test_a_snapshot_stays_as_it_was(tmp_path):
    table = MappedTable.create(tmp_path / "table", 6, 4)
    train(table)
    then = contents(table)
    table.snapshot(tmp_path / "snapshot")
    train(table)
    assert same(contents(MappedTable.open(tmp_path / "snapshot")), then)
    assert not same(contents(table), then)
    with pytest.raises(InputError, match="exists already"):
        table.snapshot(tmp_path / "snapshot")


def test_a_process_killed_while_it_added_items(tmp_path):
    table = MappedTable.create(tmp_path / "table", 6, 4)
    before = contents(table)
    for name in ("vectors.bin", "squares.bin"):
        with (tmp_path / "table" / name).open("ab") as file:
            file.write(b"\x01" * 7)
    again = MappedTable.open(tmp_path / "table")
    assert same(contents(again), before)
    again.add(1)
    assert same([part[:6] for part in contents(again)], before)


def test_a_full_disk_leaves_the_table_as_it_was(tmp_path):
    table = MappedTable.create(tmp_path / "table", 1000, 4)
    before = contents(table)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(HydrarecError, match="nothing was changed"):
            table.add(10_000)
        with pytest.raises(HydrarecError, match="cannot write"):
            MappedTable.create(tmp_path / "other", 10_000, 4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert same(contents(table), before)
    assert same(contents(MappedTable.open(tmp_path / "table")), before)
    assert [path.name for path in tmp_path.iterdir()] == ["table"]


def damage(folder, kind):
    head = json.loads((folder / "table.json").read_text())
    if kind == "truncated":
        os.truncate(folder / "vectors.bin", 10)
    elif kind == "missing":
        (folder / "squares.bin").unlink()
    elif kind == "no head":
        (folder / "table.json").unlink()
    else:
        (folder / "table.json").write_text(
            json.dumps(head | {"newer": {"version": 9}, "type": {"dtype": "int4"}}[kind])
        )


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated", r"vectors\.bin is truncated: 10 of 48 bytes"),
        ("missing", r"squares\.bin"),
        ("no head", r"table\.json is missing"),
        ("newer", "this hydrarec reads"),
        ("type", "int4"),
    ],
)
def test_a_damaged_folder(tmp_path, kind, message):
    MappedTable.create(tmp_path / "table", 6, 4)
    damage(tmp_path / "table", kind)
    with pytest.raises(InputError, match=f"{message}.*; restore .* from a snapshot"):
        MappedTable.open(tmp_path / "table")
