import os
import subprocess
import sys
from pathlib import Path

import pytest

from hydrarec.machine import cores, describe, keep_freed_memory, machine, peak_memory_bytes, usable_device

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


def named(monkeypatch, text):
    monkeypatch.setattr(Path, "read_text", lambda path: text)
    monkeypatch.setattr(Path, "exists", lambda path: True)
    return machine()["processor"]


def test_processors_of_one_name_are_told_apart(monkeypatch):
    of_one = "processor : 0\ncpu family : {}\nmodel : {}\nmodel name\t: AMD EPYC\n\n"
    assert named(monkeypatch, 2 * of_one.format(23, 1)) == "AMD EPYC (family 23, model 1)"
    assert named(monkeypatch, 2 * of_one.format(25, 17)) == "AMD EPYC (family 25, model 17)"
    assert named(monkeypatch, "model name : ARMv7 Processor rev 3\n") == "ARMv7 Processor rev 3"
    assert named(monkeypatch, "CPU implementer : 0x41\n")  # what Python knows


def test_one_line_for_a_machine():
    facts = {"processor": "X", "cores": 8, "threads": 1, "torch": "2.13.0"}
    assert describe(facts) == "X, 8 cores, 1 thread a run, torch 2.13.0"
    assert describe(facts | {"threads": 2, "gpu": "Y"}) == "X, 8 cores, Y, 2 threads a run, torch 2.13.0"
