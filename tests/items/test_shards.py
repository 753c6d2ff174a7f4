"""A table in shards: what any number of processes saved, any number reads; and a step is as small as its batch."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import Largest

from hydrarec import processes
from hydrarec.errors import InputError
from hydrarec.items.compact import FloatTable
from hydrarec.items.rows import RowwiseAdagrad
from hydrarec.items.sharded import ShardedTable, rows_of_shard
from hydrarec.items.shards import load_shards, save_shard


def save(folder, rows, world):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "total", lambda values: values)
        patch.setattr(processes, "world", lambda: world)
        for rank in range(world):
            patch.setattr(processes, "rank", lambda rank=rank: rank)
            save_shard(folder, {"weight": rows[slice(*rows_of_shard(len(rows), rank, world))]})


@given(n_items=st.integers(1, 30), saved=st.integers(1, 7), read=st.integers(1, 7))
def test_any_number_of_processes_reads_what_any_number_saved(tmp_path_factory, n_items, saved, read):
    folder, rows = tmp_path_factory.mktemp("shards"), torch.randn(n_items, 2)
    save(folder, rows, saved)
    shards = [load_shards(folder, n_items, rank, read)["weight"] for rank in range(read)]
    assert torch.equal(torch.cat(shards), rows)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda file: file.unlink(), "shard-00001-of-00002.safetensors is missing"),
        (lambda file: file.write_bytes(file.read_bytes()[:-1]), "shard-00001-of-00002.safetensors is truncated"),
        (lambda file: file.write_bytes(b""), "shard-00001-of-00002.safetensors is truncated"),
    ],
)
def test_a_bad_shard_is_named(tmp_path, harm, message):
    save(tmp_path, torch.randn(5, 2), 2)
    harm(tmp_path / "shard-00001-of-00002.safetensors")
    with pytest.raises(InputError, match=message):
        load_shards(tmp_path, 5)


def test_shards_of_another_table(tmp_path):
    save(tmp_path, torch.randn(5, 2), 2)
    with pytest.raises(InputError, match="has 3 rows and should have 4"):
        load_shards(tmp_path, 7)


def test_no_shards_and_a_folder_that_only_others_see(tmp_path):
    with pytest.raises(InputError, match="is missing"):
        load_shards(tmp_path, 5)
    with pytest.raises(InputError, match="where all hosts see it"):
        save_shard(tmp_path / "elsewhere", {})


def make(kind, n_items):
    torch.manual_seed(1)
    return kind(n_items, 4).train()


def step(table, rows):
    optimiser = RowwiseAdagrad(*table.tables)
    (table.encode(rows).square().sum() + table.encode(rows[:2]).sum()).backward()
    if isinstance(table, ShardedTable):
        table.hand_over()
    optimiser.step()
    optimiser.zero_grad()


def test_one_shard_is_the_plain_table():
    plain, sharded = make(FloatTable, 9000), make(ShardedTable, 9000)
    assert torch.equal(plain.weight, sharded.shard.weight)
    for _ in range(3):
        rows = torch.randint(9000, (50,))
        step(plain, rows)
        step(sharded, rows)
    assert torch.equal(plain.weight, sharded.shard.weight)
    assert torch.equal(plain.squares, sharded.shard.squares)


def test_nothing_in_a_step_is_as_large_as_a_shard():
    table = make(ShardedTable, 20_000)
    with Largest(table) as seen:
        step(table, torch.randint(20_000, (50,)))
    assert seen.bytes < 20_000  # 50 rows of 4 numbers; a dense gradient has 320,000 bytes


def test_one_shard_takes_new_items_as_the_plain_table_does():
    plain, sharded = make(FloatTable, 40), make(ShardedTable, 40)
    for table in (plain, sharded):
        torch.manual_seed(2)
        step(table, torch.arange(30))
        table.renew(torch.tensor([7, 3]))
        table.add(9000)
        step(table, torch.tensor([3, 41, 9039]))
    assert sharded.n_items == 9040
    assert torch.equal(plain.weight, sharded.shard.weight)
    assert torch.equal(plain.squares, sharded.shard.squares)
