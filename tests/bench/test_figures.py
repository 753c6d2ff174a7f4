"""Every figure can be measured, and compares what it says it compares."""

import math
from dataclasses import replace

import pytest

from hydrarec.bench import against, curve, figures
from hydrarec.bench.curve import CURVE, cost_by_length
from hydrarec.bench.figures import FIGURES, chosen
from hydrarec.bench.training import training
from hydrarec.errors import InputError

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
    "softmax_vs_torch",
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
    if name.startswith("bytes"):  # Linux counts pages in lots: less than some hundred kilobytes may be none
        tiny = replace(tiny, long_history=32_768)
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


def test_the_curve_has_every_model_that_is_there(tiny, monkeypatch):
    monkeypatch.setattr(curve.mamba_py, "available", lambda: False)
    monkeypatch.setitem(curve.LONGEST, "HSTU", 4)
    found = {(row.name, row.length) for row in cost_by_length(tiny)}
    assert found == {(name, length) for name in ("Hydra", "SASRec", "GRU") for length in (4, 16)} | {("HSTU", 4)}
    assert {row.figure for row in cost_by_length(tiny)} == {CURVE}


def test_steps_of_the_curve_have_enough_events(tiny, monkeypatch):
    made = []
    monkeypatch.setattr(curve, "training", lambda *a: made.append(a) or training(*a))
    cost_by_length(tiny)
    assert {(len(lengths), lengths[0]) for _, (lengths,), _ in made} == {(4, 4), (1, 16)}


def test_the_widths_and_the_threads_that_the_names_speak_of(tiny, monkeypatch):
    made = []
    monkeypatch.setattr(against, "training", lambda *a, **k: made.append((a, k)) or training(*a, **k))
    figures.measure("train_d256_vs_sasrec", tiny)
    assert {(len(lengths), lengths[0], d) for (_, (lengths,), d), _ in made} == {(2, 12, 16)}
    made.clear()
    figures.measure("threads_2_over_1_long", tiny)
    assert [(lengths, options["threads"]) for (_, (lengths,), _), options in made] == [([32], 2), ([32], 1)]
    made.clear()
    figures.measure("long_32768_vs_sasrec", tiny)
    assert [(name, lengths) for (name, (lengths,), _), _ in made] == [("Hydra", [32]), ("SASRec", [32])]


def test_the_fallback_is_measured_without_the_kernel(tiny, monkeypatch):
    asked = []

    def elsewhere(function, scale, environment):
        asked.append((function, environment))
        value, rows = figures.measure("train_d64_vs_sasrec", scale)
        return {"value": value, "rows": [vars(row) for row in rows]}

    monkeypatch.setattr(against, "apart", elsewhere)
    value, rows = figures.measure("fallback_vs_sasrec", tiny)
    assert asked == [("hydrarec.bench.against:narrow_vs_sasrec", {"HYDRAREC_KERNEL": "0"})]
    assert value == pytest.approx(rows[0].events_per_s / rows[1].events_per_s)
    assert {row.figure for row in rows} == {"fallback_vs_sasrec"}
