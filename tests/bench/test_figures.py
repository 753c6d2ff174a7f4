"""Every figure can be measured, and compares what it says it compares."""

import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from hydrarec.bench import ceilings, contenders, curve, figures, flops, lengths
from hydrarec.bench.apart import apart
from hydrarec.bench.curve import CURVE, cost_by_length
from hydrarec.bench.figures import FIGURES, chosen
from hydrarec.bench.training import training
from hydrarec.errors import HydrarecError, InputError
from hydrarec.nn.config import EncoderConfig
from hydrarec.nn.swiglu import SwiGLU

NAMES = [
    "train_d64_vs_sasrec",
    "train_d64_vs_hstu",
    "train_d256_vs_sasrec",
    "packed_vs_sasrec_bucketed",
    "packed_vs_sasrec_padded",
    "cost_65536_over_1024",
    "long_8192_vs_sasrec",
    "long_32768_vs_sasrec",
    "bytes_per_event_layer_65536",
    "forward_vs_gemm",
    "backward_vs_gemm",
    "threads_2_over_1",
    "threads_2_over_1_long",
    "step_us_batch1",
    "steps_per_s_batch1024",
    "step_50000_over_10",
    "fallback_vs_sasrec",
]


def test_the_names():
    assert list(FIGURES) == NAMES
    assert chosen([]) == NAMES
    assert chosen(["step_us_batch1", "forward_vs_gemm", "step_us_batch1"]) == ["step_us_batch1", "forward_vs_gemm"]
    with pytest.raises(InputError, match="no figure 'train_d64_vs_sasrek'; did you mean 'train_d64_vs_sasrec'"):
        chosen(["step_us_batch1", "train_d64_vs_sasrek"])


@pytest.mark.parametrize("name", NAMES)
def test_a_finite_positive_value_and_rows(name, tiny):
    value, rows = figures.measure(name, tiny)
    assert math.isfinite(value)
    assert value > 0
    assert {row.figure for row in rows} == {name}
    assert len({row.name for row in rows}) == len(rows)
    assert all(row.events_per_s > 0 and row.us_per_event_cpu >= 0 for row in rows)


def rates(name, tiny):
    value, rows = figures.measure(name, tiny)
    return value, {row.name: row.events_per_s for row in rows}


def test_vs_is_hydras_rate_over_the_rivals(tiny):
    for name, rival in [("train_d64_vs_sasrec", "SASRec"), ("train_d64_vs_hstu", "HSTU")]:
        value, found = rates(name, tiny)
        assert value == pytest.approx(found["Hydra"] / found[rival])
        assert f"{rival} published" in found


def test_over_divides_costs_and_rates(tiny):
    value, found = rates("cost_65536_over_1024", tiny)
    assert value == pytest.approx(found["Hydra, 256"] / found["Hydra, 1,024"])
    value, found = rates("threads_2_over_1", tiny)
    assert value == pytest.approx(found["Hydra, 2 threads"] / found["Hydra, 1 thread"])


def test_the_same_feed_forward_part_on_both_sides():
    def parts(name):
        return [module for module in contenders.CONTENDERS[name](64, 32).modules() if isinstance(module, SwiGLU)]

    own = [part.down.weight.shape for part in parts("Hydra")]
    assert own == [(64, 128)] * 2
    for name in ("SASRec", "HSTU", "GRU"):
        assert [part.down.weight.shape for part in parts(name)] == own
    assert not parts("SASRec published") + parts("HSTU published")


def test_a_training_step_trains_and_its_loss_leaves_padding_out():
    subject = training("SASRec", [[3, 5], [1]], 8, width=7)
    step = subject.variant.run
    assert (subject.events, subject.parameters > 0) == (9, True)
    assert [tuple(each.x.shape) for each in step.inputs] == [(2, 7, 8), (1, 7, 8)]
    encoder = step.inputs[0].forward
    before = [parameter.clone() for parameter in encoder.parameters()]
    step()
    assert all(not torch.equal(old, new) for old, new in zip(before, encoder.parameters(), strict=True))
    grad = step.inputs[0].x.grad
    assert grad[0, :3].any()
    assert not grad[0, 3:].any()
    assert not grad[1, 5:].any()
    with torch.no_grad():
        assert encoder.train().dropout.p == EncoderConfig().dropout == 0.2


def test_hydra_is_fed_without_padding():
    (given,) = training("Hydra", [[3, 5]], 8).variant.run.inputs
    assert given.x.shape == given.weights.shape == given.forward(given.x).shape == (8, 8)


def test_packed_figures_count_real_events_only(tiny, monkeypatch):
    monkeypatch.setattr("hydrarec.bench.against.window_lengths", lambda *_: ([1, 12, 2, 2, 3, 9, 1, 1], "made up"))
    made = []
    monkeypatch.setattr("hydrarec.bench.against.training", lambda *a, **k: made.append((a, k)) or training(*a, **k))
    for name in ("packed_vs_sasrec_bucketed", "packed_vs_sasrec_padded"):
        _, rows = figures.measure(name, tiny)
        assert all("made up lengths" in row.shape for row in rows)
    (hydra, bucketed, _, _, padded, _) = made
    assert hydra[0] == ("Hydra", [[1, 12, 2], [2, 3, 9], [1, 1]], 8)
    assert bucketed[0][1] == [[1, 1], [1, 2], [2, 3], [9, 12]]
    assert (padded[0][1], padded[1]["width"]) == (hydra[0][1], 12)


def test_lengths_are_real_where_the_data_set_is(tmp_path):
    path = tmp_path / "interactions.parquet"
    pq.write_table(pa.table({"user_id": [1, 1, 1, 2, 2, 2, 2, 2]}), path)
    found, origin = lengths.window_lengths(50, 4, path)
    assert (set(found), origin) == ({3, 4}, "ML-1M")


def test_lengths_are_simulated_where_it_is_not(tmp_path):
    found, origin = lengths.window_lengths(6000, 2314, tmp_path / "nothing")
    assert origin == "simulated"
    assert (min(found), max(found)) == (20, 2314)
    assert np.mean(found) == pytest.approx(165.6, rel=0.05)
    assert found == lengths.window_lengths(6000, 2314, tmp_path / "nothing")[0]
    assert max(lengths.window_lengths(100, 200, tmp_path / "nothing")[0]) == 200


def test_hand_counted_flops():
    assert flops.scan_forward_flops(4, 32, 16) == 4 * 4 * 32 * 16
    assert flops.scan_backward_flops(1, 2, 3) == 12 * 2 * 3


def test_ceilings(tiny):
    found = ceilings.ceilings(tiny)
    assert set(found) == {
        "gemm_float32_gflops",
        "gemm_float32_best_gflops",
        "gemm_bfloat16_gflops",
        "memory_gb_per_s",
    }
    assert 0 < found["gemm_float32_gflops"] <= found["gemm_float32_best_gflops"]
    assert ceilings.gemm(10).flops == 2000


def test_the_curve_has_every_model_that_is_there(tiny, monkeypatch):
    monkeypatch.setattr(curve.mamba_py, "available", lambda: False)
    monkeypatch.setitem(curve.LONGEST, "HSTU", 4)
    found = {(row.name, row.length) for row in cost_by_length(tiny)}
    assert found == {(name, length) for name in ("Hydra", "SASRec", "GRU") for length in (4, 16)} | {("HSTU", 4)}
    assert {row.figure for row in cost_by_length(tiny)} == {CURVE}


def test_a_process_that_fails_says_why(tiny):
    with pytest.raises(HydrarecError, match=r"measures hydrarec.bench.memory:nothing failed: AttributeError"):
        apart("hydrarec.bench.memory:nothing", tiny)
