"""Training steps on a large table take the memory of their batch: no dense gradient is ever made."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import Largest

from hydrarec.items.compact import FloatTable, Int8Table
from hydrarec.items.hashed import MultiHash
from hydrarec.items.mapped import MappedTable
from hydrarec.items.rows import RowwiseAdagrad
from hydrarec.items.table import ItemTable

PROGRAM = """
import os, resource, sys
import torch
import torch._dynamo  # as the first step of an optimiser does
from hydrarec.items.compact import FloatTable, Int8Table
from hydrarec.items.rows import RowwiseAdagrad
from hydrarec.items.table import ItemTable
from hydrarec.losses.sampled import sampled_softmax
from hydrarec.losses.softmax import full_softmax
from hydrarec.nn.norm import unit

def allow(more):
    size = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmSize"))
    resource.setrlimit(resource.RLIMIT_AS, (size + more, resource.RLIM_INFINITY))

def whole(table, optimiser):  # every item is scored
    hidden = torch.randn(20, 64, requires_grad=True)
    full_softmax(hidden, unit(table.catalog()), torch.arange(20)).backward()
    optimiser.step()

def step(table, optimiser):
    hidden = torch.randn(500, 64, requires_grad=True)
    rows, places = torch.randint(table.n_items, (2500,)).unique(return_inverse=True)  # targets and negatives
    loss = sampled_softmax(hidden, table.encode(rows), places[:500], places[500:], None)
    loss.backward()
    optimiser.step()
    optimiser.zero_grad()

folder, n_items, headroom, *kinds = sys.argv[1], *map(int, sys.argv[2:4]), *sys.argv[4:]
torch.set_num_threads(1)
for kind in kinds:  # each in a fork, which finds nothing that another one has freed
    if not os.fork():
        break
    os.wait()
else:
    sys.exit()
for stream in (1, 2):
    os.dup2(os.open(f"{folder}/{kind}-{stream}", os.O_CREAT | os.O_WRONLY), stream)
kind, _, bytes_a_row = kind.partition("-")
bytes_a_row = int(bytes_a_row)
if kind == "softmax":
    step = whole
def plain(n_items, width):  # drawing all at once leaves freed memory, in which the gradient would find room
    table = ItemTable(1, width)
    table.weight = torch.nn.Parameter(torch.ones(n_items, width))
    return table

make, optimise = {
    "plain": (plain, lambda table: torch.optim.SGD(table.parameters())),
    "float32": (FloatTable, RowwiseAdagrad),
    "int8": (Int8Table, RowwiseAdagrad),
    "softmax": (Int8Table, RowwiseAdagrad),
}[kind]
small = make(3000, 64)
step(small, optimise(small))  # loads what is loaded once
allow(bytes_a_row * n_items + headroom)
table = make(n_items, 64)
print("made", flush=True)
optimiser = optimise(table)
allow(headroom + (3 * 256 * n_items if kind == "softmax" else 0))
for _ in range(3):
    step(table, optimiser)
print("trained", flush=True)
"""
N_ITEMS, HEADROOM = 300_000, 45 * 2**20  # a step takes 20 MiB, and a dense gradient of d 64 in float32 73 MiB
AT_ONCE = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}  # freed tensors go back, whatever was allocated before


KINDS = ["float32-260", "int8-72", "softmax-72", "plain-1000"]  # and the bytes that a row may take


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What each kind of table prints to standard output and standard error."""
    folder = tmp_path_factory.mktemp("printed")
    words = [sys.executable, "-c", PROGRAM, str(folder), str(N_ITEMS), str(HEADROOM), *KINDS]
    subprocess.run(words, check=True, env=AT_ONCE)
    return {kind: [(folder / f"{kind}-{stream}").read_text() for stream in (1, 2)] for kind in KINDS}


LINUX = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is limited as on Linux")


@LINUX
@pytest.mark.parametrize("kind", KINDS[:3])
def test_a_table_is_made_and_trained_in_little_more_memory_than_it_takes(printed, kind):
    """The full softmax takes the catalog in float32, and its gradient before and after the normalisation."""
    out, errors = printed[kind]
    assert out == "made\ntrained\n", errors


@LINUX
def test_the_plain_table_is_not_for_it_makes_a_dense_gradient(printed):
    out, errors = printed[KINDS[3]]
    assert out == "made\n"
    assert "alloc" in errors


@pytest.mark.parametrize("kind", ["float32", "float16", "int8", "mapped", "hashed", "plain"])
def test_nothing_in_a_step_is_as_large_as_the_table(kind, tmp_path):
    table = {
        "float32": lambda: FloatTable(20_000, 8),
        "float16": lambda: FloatTable(20_000, 8, dtype=torch.float16),
        "int8": lambda: Int8Table(20_000, 8),
        "mapped": lambda: MappedTable.create(tmp_path / "table", 20_000, 8),
        "hashed": lambda: MultiHash(10**9, FloatTable(20_000, 8)),
        "plain": lambda: ItemTable(20_000, 8),
    }[kind]()
    optimiser = RowwiseAdagrad(*getattr(table, "tables", [table])) if kind != "plain" else None
    rows = torch.arange(100)
    with Largest(table) as largest:
        table.encode(rows).square().sum().backward()
        if optimiser:
            optimiser.step()
    assert (largest.bytes >= 20_000 * 8 * 4) == (kind == "plain")
    assert largest.bytes <= 2 * 100 * 8 * 8 or kind == "plain"
