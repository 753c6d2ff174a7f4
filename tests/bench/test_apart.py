"""Measurements in a process of their own."""

import io
import json
from dataclasses import asdict

import pytest
import torch

from hydrarec.bench import apart as apart_module
from hydrarec.bench import memory
from hydrarec.bench.apart import apart
from hydrarec.bench.memory import Footprint
from hydrarec.errors import HydrarecError


def test_a_process_that_fails_says_why(tiny):
    with pytest.raises(HydrarecError, match=r"measures hydrarec.bench.memory:nothing failed: AttributeError"):
        apart("hydrarec.bench.memory:nothing", tiny)


def test_the_scale_arrives_whole(tiny, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(
        memory,
        "footprint",
        lambda scale: seen.append(scale) or Footprint(before=1, peak=2, seconds=3.0, cpu_seconds=4.0),
    )
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(asdict(tiny))))
    apart_module._main("hydrarec.bench.memory:footprint")
    assert seen == [tiny]
    assert json.loads(capsys.readouterr().out) == {"before": 1, "peak": 2, "seconds": 3.0, "cpu_seconds": 4.0}


def test_the_environment_arrives_and_only_the_last_line_counts(tiny, monkeypatch):
    seen = {}

    class Done:
        returncode, stdout, stderr = 0, 'a library says hello\n{"value": 1}\n', ""

    monkeypatch.setattr("subprocess.run", lambda *_, **options: seen.update(options) or Done)
    assert apart("module:function", tiny, {"HYDRAREC_KERNEL": "0"}) == {"value": 1}
    assert seen["env"]["HYDRAREC_KERNEL"] == "0"
    assert "PATH" in seen["env"]


def test_bytes_are_those_beyond_the_baseline_of_an_event_and_layer(tiny, monkeypatch):
    footprint = Footprint(before=2**20, peak=2**20 + 1024 * 2 * 500, seconds=0.5, cpu_seconds=0.75)
    monkeypatch.setattr(memory, "apart", lambda *_: asdict(footprint))
    found = memory.bytes_per_event_and_layer(tiny)
    assert found.value == 500
    (row,) = found.rows
    assert (row.rounds, row.events_per_s, row.note) == (1, 2048, "peak 1 MiB above 1")


@pytest.mark.parametrize("field", ["VmRSS", "VmHWM"])
def test_memory_of_this_process_is_seen(field):
    given_back = memory._status("VmHWM") - memory._status("VmRSS")  # by earlier tests in this process
    before = memory._status(field)
    held = torch.ones(60_000_000 + given_back // 4)  # 240 MB more than ever
    assert memory._status(field) - before > 200e6
    assert memory._status("VmHWM") >= held.numel() * 4


def test_a_footprint_holds_the_step(tiny):
    found = memory.footprint(tiny)
    assert 0 < found.before <= found.peak
    assert found.seconds > 0
    assert found.cpu_seconds >= 0
