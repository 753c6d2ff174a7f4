"""Threads of the compiled kernels: those of torch, as many as torch says, and none that a fork would miss."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hydrarec.ops.library import kernels

pytestmark = [
    pytest.mark.skipif(kernels() is None, reason="the compiled kernels are not there"),
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in /proc"),
]
# Enough histories for many parts, and enough numbers for torch to use its threads.
START = """
import json, os, sys, time
import torch
from hydrarec.ops.kernel_scan import scan_kernel
from hydrarec.ops.library import required_kernels

def threads(most=None):  # where no more than ``most`` are to be left, they have time to go
    for _ in range(100):
        time.sleep(0.2)  # a thread that was joined stays in the list for a moment
        found = len(os.listdir("/proc/self/task"))
        if most is None or found <= most:
            break
    return found

torch.set_num_threads(1)  # no part in what follows
x, dt, B, C = torch.randn(4096, 4, 16), torch.rand(4096, 4, 1), torch.randn(4096, 4, 16), torch.randn(4096, 4, 16)
given = x, dt, -torch.ones(4, 1), B, C, torch.arange(0, 4097, 64), torch.zeros(64, 4, 16, 16)

def kernel():
    return scan_kernel(*given)[0]

def of_torch():
    return torch.ones(1 << 22).exp()

def counts(threads_wanted, *work, end=False):
    torch.set_num_threads(threads_wanted)
    before = threads()
    after = []
    for each in work:
        each()
        after.append(threads(before if end else None) - before)
    return after

for code in json.load(sys.stdin):
    if not os.fork():  # nothing has used threads yet, as in a process that has just started
        exec(code)
        sys.stdout.flush()
        os._exit(0)
    assert os.wait()[1] == 0, code
"""
ORDERS = [(wanted, *order) for wanted in (2, 3) for order in (("kernel", "of_torch"), ("of_torch", "kernel"))]
# What each process does; it prints one line of JSON.
WORK: dict[str | tuple[int, str, str], str] = {
    (wanted, first, second): f"print(json.dumps(counts({wanted}, {first}, {second}, {first})))"
    for wanted, first, second in ORDERS
}
WORK["one"] = "print(json.dumps(counts(1, kernel, kernel)))"
WORK["fewer"] = "many = counts(3, kernel); fewer = counts(1, kernel, of_torch); print(json.dumps([many, fewer]))"
WORK["without a pool"] = """
alone = kernel()
required_kernels()._library.hydrarec_use_pool(None)
print(json.dumps([counts(3, kernel, kernel, end=True), bool((kernel() == alone).all())]))
"""
WORK["fork"] = """
from torch.utils.data import DataLoader

class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, index):
        return kernel()

torch.set_num_threads(2)
expected = kernel()
loader = DataLoader(Numbers(), num_workers=2, multiprocessing_context="fork", timeout=60)
print(json.dumps([bool((each[0] == expected).all()) for each in loader]))
"""


@pytest.fixture(scope="module")
def results() -> dict[str | tuple[int, str, str], object]:
    """What the processes print; the variables that set threads are left out."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_NUM", "HYDRAREC"))}
    environment |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
    done = subprocess.run(
        [sys.executable, "-c", START],
        input=json.dumps([*WORK.values()]),
        capture_output=True,
        text=True,
        env=environment,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(WORK, map(json.loads, done.stdout.splitlines()), strict=True))


def shares_pool() -> None:
    found = kernels()
    if found is None or not found.shares_pool:
        pytest.skip("torch's pool has no entry for the kernels here")


def test_one_thread_starts_none(results):
    assert results["one"] == [0, 0]


@pytest.mark.parametrize(("wanted", "first", "second"), ORDERS)
def test_the_threads_are_those_of_torch(results, wanted, first, second):
    """Whoever comes first starts them, the other one uses them."""
    shares_pool()
    assert results[wanted, first, second] == [wanted - 1] * 3


def test_fewer_threads_after_many(results):
    shares_pool()
    assert results["fewer"] == [[2], [0, 0]]


def test_without_a_pool_threads_end_with_the_call(results):
    assert results["without a pool"] == [[0, 0], True]


def test_a_fork_after_use_works_on_one_thread(results):
    """As workers of a DataLoader do: torch gives each of them one thread."""
    assert results["fork"] == [True] * 4
