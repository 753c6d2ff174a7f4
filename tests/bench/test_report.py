import json
import sys
from xml.etree import ElementTree

import pytest

from hydrarec.bench import plots, run
from hydrarec.bench.curve import CURVE
from hydrarec.bench.report import Findings, print_findings, write_findings
from hydrarec.bench.rows import Measured, Row
from hydrarec.cli import main

MACHINE = {
    "processor": "AMD EPYC",
    "cores": 2,
    "torch": "2.13.0",
    "scan": "kernel",
    "gemm_float32_gflops": 78.123,
    "gemm_float32_best_gflops": 85.0,
    "gemm_bfloat16_gflops": 184.0,
    "memory_gb_per_s": 20.5,
}


def made(figure, name, length=200, us=10.0, **changes):
    plain = {
        "work": "training step",
        "shape": "128 x 200, d 64",
        "threads": 2,
        "parameters": 98_304,
        "events_per_s": 1e6 / us,
        "us_per_event_wall": us,
        "us_per_event_cpu": 2 * us,
        "us_per_call_wall": 1e5,
        "gflops": None,
        "spread": 0.034,
        "rounds": 21,
        "note": "",
    }
    return Row(**{**plain, "figure": figure, "name": name, "length": length, **changes})


@pytest.fixture
def findings():
    rows = [
        made("train_d64_vs_sasrec", "Hydra"),
        made("train_d64_vs_sasrec", "SASRec published", us=12345.6, rounds=4),
        made("packed_vs_sasrec_bucketed", "Hydra", None, shape="512 windows, ML-1M lengths, packed"),
        made("packed_vs_sasrec_bucketed", "SASRec", None, shape="512 windows, ML-1M lengths, 4 buckets"),
        made("bytes_per_event_layer_65536", "Hydra", 65_536, rounds=1),
        made("forward_vs_gemm", "scan", None, gflops=61.7, parameters=None),
        *(made(CURVE, name, length) for length in (64, 65_536) for name in ("Hydra", "GRU")),
    ]
    figures = {
        "train_d64_vs_sasrec": 1.23456,
        "packed_vs_sasrec_bucketed": 1.5,
        "bytes_per_event_layer_65536": 5876.5,
        "forward_vs_gemm": 0.7912,
    }
    return Findings(figures=figures, machine=MACHINE, rows=rows)


def test_the_table_fits_80_columns_and_cuts_nothing(findings, capsys):
    print_findings(findings)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "train_d64_vs_sasrec = 1.23" in lines
    assert "bytes_per_event_layer_65536 = 5,876" in lines
    assert "Hydra 100,000 10.0 20.0 3% 2 98k" in lines
    assert "SASRec published, 4 runs 81 12,346 24,691 3% 2 98k" in lines
    assert "scan 62 GF/s 10.0 20.0 3% 2" in lines
    assert "Hydra, 65,536 100,000 10.0 20.0 3% 2 98k" in lines
    assert "78 GFLOP/s (best shape 85), bfloat16 184, memory 20 GB/s" in out


def test_json_and_plots_are_written(findings, tmp_path):
    write_findings(findings, tmp_path / "bench")
    names = {path.name for path in (tmp_path / "bench").iterdir()}
    assert names == {"bench.json", "cost_by_length.svg", "events_per_second.svg"}
    found = json.loads((tmp_path / "bench" / "bench.json").read_text())
    assert found == findings.to_dict()
    for name in names - {"bench.json"}:
        assert ElementTree.parse(tmp_path / "bench" / name).getroot().tag.endswith("svg")


def test_only_plots_that_have_data_are_drawn(findings, tmp_path):
    assert plots.draw(findings.rows[4:6], tmp_path) == []
    assert [path.name for path in plots.draw(findings.rows[:2], tmp_path)] == ["events_per_second.svg"]
    assert [path.name for path in plots.draw(findings.rows[6:], tmp_path)] == ["cost_by_length.svg"]


def test_curves_are_logarithmic_and_bars_carry_their_way_of_padding(findings):
    (axes,) = plots.cost_by_length(findings.rows).axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert [list(line.get_xdata()) for line in axes.lines] == [[64, 65_536]] * 2
    full, packed = plots.events_per_second(findings.rows).axes
    assert [label.get_text() for label in full.get_yticklabels()] == ["Hydra", "SASRec published"]
    assert [label.get_text() for label in packed.get_yticklabels()] == ["Hydra, packed", "SASRec, 4 buckets"]
    assert [bar.get_width() for bar in full.patches] == pytest.approx([100, 0.081], abs=1e-3)


@pytest.fixture
def shrunk(monkeypatch, tiny):
    monkeypatch.setattr(run, "FULL", tiny)


def test_one_object_on_standard_output(shrunk, capsys):
    assert main(["bench", "forward_vs_gemm", "train_d64_vs_sasrec", "--json"]) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    assert "bench: " not in err  # progress; a hint about kernels may be there
    found = json.loads(out)
    assert list(found) == ["figures", "machine", "rows"]
    assert list(found["figures"]) == ["forward_vs_gemm", "train_d64_vs_sasrec"]
    assert {"processor", "cores", "torch", "scan", "gemm_float32_gflops", "memory_gb_per_s"} <= set(found["machine"])
    alone = ["scan", "GEMM", "scan from memory", "copy"]
    assert [row["name"] for row in found["rows"]] == [*alone, "Hydra", "SASRec", "SASRec published"]
    said = {"parameters", "events_per_s", "us_per_event_wall", "us_per_event_cpu", "threads", "spread", "rounds"}
    assert all(said <= set(row) for row in found["rows"][len(alone) :])


def test_without_names_everything_and_the_curve(shrunk, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("hydrarec.bench.figures.FIGURES", {"a": lambda scale: Measured(1.5, [])})
    assert main(["bench", "--out", str(tmp_path / "bench")]) == 0
    found = json.loads((tmp_path / "bench" / "bench.json").read_text())
    assert found["figures"] == {"a": 1.5}
    assert {row["figure"] for row in found["rows"]} == {CURVE}
    assert (tmp_path / "bench" / "cost_by_length.svg").exists()
    assert CURVE in capsys.readouterr().out


def test_bad_input_is_refused_before_anything_is_measured(capsys, tmp_path, monkeypatch):
    assert main(["bench", "step_us_batch2"]) == 2
    assert "did you mean 'step_us_batch1'" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["bench", "--out", str(tmp_path)]) == 2
    assert "leave out --out" in capsys.readouterr().err
