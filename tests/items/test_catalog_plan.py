"""The arithmetic, beside real tables, optimisers and vocabularies of three sizes."""

from typing import get_args

import pyarrow as pa
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from hydrarec import processes
from hydrarec.errors import InputError
from hydrarec.items.compact import FloatTable, Int8Table
from hydrarec.items.config import ItemsConfig
from hydrarec.items.hashed import QuotientRemainder
from hydrarec.items.mapped import MappedTable
from hydrarec.items.plan import EncoderName, PlanConfig, id_map_bytes, plan
from hydrarec.items.rows import RowwiseAdagrad
from hydrarec.items.table import ItemTable
from hydrarec.items.tables import new_table
from hydrarec.items.vocabulary import Vocabulary

SIZES = (1000, 8000, 64_000)
GB = 10**9


def nbytes(*tensors):
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)


def close(found, expected):
    assert found == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("dim", [32, 64])
@pytest.mark.parametrize("items", SIZES)
def test_the_plain_table_with_adamw(items, dim):
    table = ItemTable(items, dim)
    optimiser = torch.optim.AdamW(table.parameters())
    table.encode(torch.arange(5)).sum().backward()
    optimiser.step()
    found = plan(PlanConfig(items=items, dim=dim, encoder="table"))
    close(found.parts["weights_bytes"], nbytes(table.weight))
    close(found.parts["optimizer_bytes"], nbytes(*optimiser.state[table.weight].values()))
    gradient = nbytes(table.weight.grad)
    close(found.per_gpu_bytes, nbytes(table.weight, *optimiser.state[table.weight].values()) + gradient)


@pytest.mark.parametrize("items", SIZES)
@pytest.mark.parametrize("encoder", ["float32", "float16", "int8", "quotient_remainder"])
def test_tables_of_rows(encoder, items):
    if encoder == "quotient_remainder":
        tables = QuotientRemainder(items, 48).tables
    else:
        tables = (Int8Table(items, 48) if encoder == "int8" else FloatTable(items, 48, dtype=getattr(torch, encoder)),)
    for table in tables:
        table.encode(torch.arange(3)).sum().backward()
    RowwiseAdagrad(*tables).step()
    found = plan(PlanConfig(items=items, dim=48, encoder=encoder)).parts
    close(found["weights_bytes"], sum(nbytes(*table.buffers()) - nbytes(table.squares) for table in tables))
    close(found["optimizer_bytes"], sum(nbytes(table.squares) for table in tables))


@pytest.mark.parametrize("items", SIZES)
def test_the_rows_of_a_step(items):
    table = FloatTable(items, 16)
    config = PlanConfig(items=items, dim=16, encoder="float32", events=300, negatives=400)
    rows = torch.randperm(items)[: config.rows]
    table.encode(rows).sum().backward()
    ((_, vectors),) = table.lent
    step = plan(config).per_gpu_bytes - sum(nbytes(each) for each in table.buffers())
    close(step, nbytes(vectors, vectors.grad))


@pytest.mark.parametrize("items", SIZES)
def test_files_of_a_mapped_table(items, tmp_path):
    MappedTable.create(tmp_path / "table", items, 24)
    size = sum(path.stat().st_size for path in (tmp_path / "table").glob("*.bin"))
    found = plan(PlanConfig(items=items, dim=24, encoder="float16")).parts
    close(found["weights_bytes"] + found["optimizer_bytes"], size)


@pytest.mark.parametrize("gpus", [1, 3])
@pytest.mark.parametrize(
    ("encoder", "alone", "together"),
    [
        ("table", "full", "full"),
        ("float32", "rows", "sharded"),
        ("float16", "half", "half"),
        ("int8", "int8", "int8"),
        ("quotient_remainder", "hashed", "hashed"),
    ],
)
def test_what_a_process_holds_of_the_storage_that_is_planned(encoder, alone, together, gpus, monkeypatch):
    monkeypatch.setattr(processes, "world", lambda: gpus)
    found = plan(PlanConfig(items=9001, dim=32, gpus=gpus, encoder=encoder, events=1, negatives=0))
    assert found.storage == (alone if gpus == 1 else together)
    items = new_table(ItemsConfig(storage=found.storage), 9001, 32)
    assert items.sharded == (encoder == "float32" and gpus > 1)
    moments_and_gradient = 3 * nbytes(*items.parameters())  # of AdamW; others keep theirs in buffers
    close(found.per_gpu_bytes, nbytes(*items.parameters(), *items.buffers()) + moments_and_gradient)


def test_every_encoder_of_a_plan_is_tried_above():
    assert set(plan(PlanConfig(items=5)).encoders) == set(get_args(EncoderName))
    (tried,) = (
        mark.args[1]
        for mark in test_what_a_process_holds_of_the_storage_that_is_planned.pytestmark
        if "encoder" in mark.args[0]
    )
    assert {encoder for encoder, _, _ in tried} == set(get_args(EncoderName))


@pytest.mark.parametrize("items", SIZES)
def test_id_map_and_what_is_scored(items):
    close(id_map_bytes(items), Vocabulary(pa.array(range(items))).values.nbytes)
    text = Vocabulary(pa.array([f"item-{row:012}" for row in range(items)]))
    close(id_map_bytes(items, 17), text.values.nbytes)
    config = PlanConfig(items=items, dim=40, encoder="table")
    found = plan(config)
    assert found.index == "exact"
    close(found.parts["index_bytes"], nbytes(F.normalize(ItemTable(items, 40).catalog().detach())))
    assert plan(config, 5).parts["index_bytes"] == found.parts["index_bytes"] + 5
    of_rows = plan(PlanConfig(items=items, dim=40, encoder="int8"), 5)
    assert (of_rows.index, of_rows.parts["index_bytes"]) == ("ivf", 5)


def test_eight_large_gpus():
    """By hand: (256 + 4) / 8 GB, and the rows of a step."""
    found = plan(PlanConfig(items=GB, dim=64, gpus=8, gpu_memory=141 * GB, encoder="float32"))
    assert found.parts["weights_bytes"] == 256 * GB
    assert found.parts["optimizer_bytes"] == 4 * GB
    assert found.parts["id_map_bytes"] == 8 * GB
    assert found.per_gpu_bytes == 32_500_000_000 + 2 * 4 * 64 * (8192 + 1 + 8192)
    assert found.fits
    assert found.traffic_bytes_per_step == round(16_385 * 7 / 8 * (16 + 512))


def test_what_is_not_in_shards_every_gpu_has_and_hears_of():
    found = plan(PlanConfig(items=GB, dim=64, gpus=8, gpu_memory=141 * GB, encoder="float16"))
    assert found.per_gpu_bytes == 132 * GB + 2 * 4 * 64 * (8192 + 1 + 8192)
    assert not found.fits
    assert found.traffic_bytes_per_step == 7 * 16_385 * (8 + 256)
    dense = plan(PlanConfig(items=1000, dim=64, gpus=4, encoder="table"))
    assert dense.traffic_bytes_per_step == 2 * 3 / 4 * 4 * 1000 * 64
    alone = [plan(PlanConfig(items=1000, encoder=name)) for name in get_args(EncoderName)]
    assert [each.traffic_bytes_per_step for each in alone] == [0] * len(alone)


@pytest.mark.parametrize(
    ("items", "gpus", "expected"),
    [
        (50_000, 1, "table"),
        (200_000_000, 1, "float32"),
        (400_000_000, 1, "float16"),
        (700_000_000, 1, "int8"),
        (10 * GB, 1, "quotient_remainder"),
        (700_000_000, 8, "float32"),
        (10 * GB, 20, "quotient_remainder"),
        (10 * GB, 100, "float32"),
    ],
)
def test_the_most_accurate_that_fits(items, gpus, expected):
    found = plan(PlanConfig(items=items, dim=64, gpus=gpus))
    assert found.encoder == expected
    assert found.per_gpu_bytes == found.encoders[expected] <= 64 * GB


@given(st.integers(2, 10**12), st.integers(1, 4096), st.integers(1, 4096))
def test_more_gpus_never_take_more_and_nothing_planned_is_too_large(items, dim, gpus):
    config = {"items": items, "dim": dim, "gpu_memory": 10**15}
    few, many = (plan(PlanConfig(**config, gpus=n)) for n in (gpus, gpus + 1))
    assert all(many.encoders[name] <= size for name, size in few.encoders.items())
    assert few.fits


def test_what_does_not_fit():
    assert not plan(PlanConfig(items=GB, dim=64, gpu_memory=GB, encoder="float16")).fits
    with pytest.raises(InputError, match=r"no item encoder fits: .* take more GPUs or a smaller --dim"):
        plan(PlanConfig(items=10**12, dim=4096, gpu_memory=10**6))
    with pytest.raises(InputError, match="gpus is 0; it must be at least 1"):
        PlanConfig(items=5, gpus=0)
