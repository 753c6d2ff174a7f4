"""benchmarks/gpu.py: what it does without a GPU, and that its two models and its pairs of operations are right."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from gpu_cases import needs_triton

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("benchmark_gpu", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_so():
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True)
    assert done.returncode == 2
    assert "no GPU" in done.stderr
    assert not done.stdout


def test_sasrec_sees_no_future(benchmark):
    torch.manual_seed(0)
    model = benchmark.SASRec(8, 2)
    x = torch.randn(2, 5, 8)
    changed = x.clone()
    changed[:, 3:] += 1
    before, after = model(x), model(changed)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3:], after[:, 3:])


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_row_for_each_model(benchmark, precision):
    rows = benchmark.training(20, 6, precision, 1, "cpu", d=8)
    assert [row["model"] for row in rows] == ["hydra", "sasrec"]
    assert all(row["users"] == 3 and row["events_per_s"] > 0 for row in rows)


@needs_triton
def test_every_operation_agrees_with_its_plain_form(benchmark):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    benchmark.E, benchmark.N, benchmark.G = 2, 2, 1
    pairs = benchmark.cases(2, 9, device)
    assert len(pairs) == 8
    for name, (fused, plain, inputs) in pairs.items():
        found = benchmark.disagreement(fused, plain, inputs)
        allowed = 5e-2 if "bfloat16" in name else 1e-5
        assert max(found.values()) < allowed, (name, found)
