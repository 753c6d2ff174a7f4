"""Training steps on a large table take the memory of their batch: no dense gradient is ever made."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import json, sys
import torch
from hydrarec.items.compact import FloatTable, Int8Table
from hydrarec.items.mapped import MappedTable
from hydrarec.items.rows import RowwiseAdagrad
from hydrarec.items.table import ItemTable
from hydrarec.losses.sampled import sampled_softmax

def status(field):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(field))

def forget_peak():
    open("/proc/self/clear_refs", "w").write("5")

def step(table, optimiser):
    hidden = torch.randn(500, 64, requires_grad=True)
    rows, places = torch.randint(V, (2500,)).unique(return_inverse=True)  # targets and negatives
    loss = sampled_softmax(hidden, table.encode(rows), places[:500], places[500:], None)
    loss.backward()
    optimiser.step()
    optimiser.zero_grad()

kind, folder = sys.argv[1:3]
torch.set_num_threads(1)
make = {
    "plain": lambda n: ItemTable(n, 64),
    "float32": lambda n: FloatTable(n, 64),
    "float16": lambda n: FloatTable(n, 64, dtype=torch.float16),
    "int8": lambda n: Int8Table(n, 64),
    "mapped": lambda n: MappedTable.create(f"{folder}/{n}", n, 64),
}[kind]
optimiser = lambda table: torch.optim.SGD(table.parameters()) if kind == "plain" else RowwiseAdagrad(table)
def work(n):
    global V
    V = n
    forget_peak()
    before = status("VmRSS")
    table = make(n)
    made, peak, files = status("VmRSS"), status("VmHWM"), status("RssFile")
    forget_peak()
    for _ in range(3):
        step(table, optimiser(table))
    # The system gives back a file's pages when it needs memory.
    return {"making": peak - before, "steps": status("VmHWM") - made - (status("RssFile") - files)}

work(3000)  # loads what is loaded once
print(json.dumps(work(int(sys.argv[3]))))
"""
MIB = 2**20
N_ITEMS = 400_000  # a dense gradient of d 64 in float32 is 98 MiB


def measure(kind: str, folder: Path) -> dict[str, int]:
    words = [sys.executable, "-c", PROGRAM, kind, str(folder), str(N_ITEMS)]
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize(("kind", "bytes_a_row"), [("float32", 260), ("float16", 132), ("int8", 72), ("mapped", 0)])
def test_no_dense_gradient(kind, bytes_a_row, tmp_path):
    found = measure(kind, tmp_path)
    assert found["steps"] < 40 * MIB
    # Making a table takes little more than the table: no second copy, none in float32.
    assert found["making"] < bytes_a_row * N_ITEMS + 30 * MIB


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is read from /proc")
def test_the_plain_table_makes_one_so_that_it_would_be_seen(tmp_path):
    assert measure("plain", tmp_path)["steps"] > 90 * MIB
