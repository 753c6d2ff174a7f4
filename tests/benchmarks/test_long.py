"""Training on one long history, measured in a process of its own for each way."""

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "long.py"


def test_each_way_is_measured():
    sizes = ["--events", "512", "--size", "128", "--items", "50", "--d-model", "8", "--layers", "1"]
    done = subprocess.run([sys.executable, PROGRAM, *sizes], check=True, capture_output=True, text=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["way"] for each in found] == ["carried", "recompute", "whole"]
    assert all(each["events_per_second"] > 0 for each in found)
