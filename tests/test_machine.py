import os
import subprocess
import sys

import pytest

from hydrarec.machine import cores, keep_freed_memory, machine, peak_memory_bytes, usable_device

FAULTS = """
import resource, sys
import torch
from hydrarec.machine import cores, keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def use():
    for _ in range(20):
        torch.ones(4 * 2**20 // 4)  # 4 MiB, given back at once
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how):
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_kept_memory_is_not_fetched_again():
    keep_freed_memory()  # never fails, whatever the system
    if sys.platform == "linux" and faults("drop") > 5000:  # glibc, which gives memory back by itself
        assert faults("keep") < 1000


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_cores_are_those_that_the_process_may_use():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert cores() == len(allowed)


def test_facts():
    facts = machine()
    assert facts["cores"] >= 1
    assert facts["memory_bytes"] > 2**20
    assert peak_memory_bytes() > 2**20
    assert usable_device("cpu") == "cpu"
