import math
from dataclasses import replace

import contract_checks as checks
import pytest
import torch
import torch.nn.functional as F
from support import close

from hydrarec.errors import InputError
from hydrarec.models.hstu import HSTU, HSTUConfig
from hydrarec.models.registry import model_classes

D = 8


def test_registry():
    assert model_classes("hstu") == (HSTUConfig, HSTU)


@pytest.mark.parametrize("changes", [{}, {"n_heads": 2, "ffn": 2.0}, {"time": False}])
def test_it_keeps_the_contract(changes):
    model = checks.made("hstu", **changes)
    checks.check_each_history_is_alone(model)
    checks.check_causal(model)
    checks.check_no_event_at_all(model)
    checks.check_there_and_back(model)
    checks.check_learns(checks.made("hstu", max_len=12, **changes))


@pytest.mark.parametrize("time", [True, False])
def test_it_is_its_formula_in_an_explicit_loop(time):
    """arXiv 2402.17152, equations 1 to 3, with the input, the norms and the buckets of the public code."""
    model = checks.made("hstu", n_layers=2, n_heads=2, max_len=20, time=time).double()
    batch = checks.timed_batch([6])
    times, asked = batch.times.tolist(), batch.request_times.tolist()
    h = model.items.weight[batch.items] * math.sqrt(D) + model.encoder.positions[:6]
    for layer in model.encoder.layers:
        u, v, q, k = F.silu(F.layer_norm(h, (D,), eps=1e-6) @ layer.uvqk.weight.T).split(D, dim=1)
        mixed = torch.zeros_like(h)
        for head in (slice(0, D // 2), slice(D // 2, D)):
            for i in range(6):
                for j in range(i + 1):
                    bias = layer.distance_bias[i - j]
                    if time:
                        bias = bias + layer.time_bias[int(math.log(max(abs(asked[i] - times[j]), 1)) / 0.301)]
                    mixed[i, head] += F.silu(q[i, head] @ k[j, head] + bias) / 20 * v[j, head]
        h = h + layer.w_o(F.layer_norm(mixed, (D,), eps=1e-6) * u)
    close(model.encode(batch), h, 1e-10)


def test_with_time_it_answers_for_the_moment_of_the_request_and_says_so():
    model = checks.made("hstu")
    assert model.sees_request_time
    assert checks.follows_request_time(model)
    with pytest.raises(InputError, match="give the times of the events and of the request"):
        model.encode(replace(checks.timed_batch(), columns={}))


def test_without_time_it_needs_none():
    model = checks.made("hstu", time=False)
    assert not model.sees_request_time
    batch = checks.timed_batch()
    blind = replace(batch, times=torch.zeros_like(batch.times), columns={})
    assert torch.equal(model.encode(blind), model.encode(batch))


@pytest.mark.parametrize(
    ("changes", "encoder"), [({"n_layers": 2, "n_heads": 1}, 35_758), ({"n_layers": 8, "n_heads": 2}, 113_032)]
)
def test_parameter_counts_of_the_published_sizes(changes, encoder):
    """The public code has 2 N - 1 biases of distance, N = 211, a layer. Only those of the past are ever used."""
    d, length = 50, 200
    layer = 4 * d * d + d * d + d + length + 129  # U, V, Q, K; output; biases of distance; of time
    model = HSTU(HSTUConfig(d_model=d, **changes), 7)
    assert model.parameter_counts() == {"items": 7 * d, "encoder": length * d + changes["n_layers"] * layer}
    assert model.parameter_counts()["encoder"] == encoder
    assert all(layer.uvqk.out_features == 4 * d for layer in model.encoder.layers)  # heads times dqk = dv = d / heads


def test_weight_decay_spares_positions_and_biases():
    names = checks.decayed(checks.made("hstu"))
    assert {name.split(".", 3)[-1] for name in names} == {"uvqk.weight", "w_o.weight"}


def test_initial_values_are_those_of_the_public_code():
    torch.manual_seed(1)
    encoder = HSTU(HSTUConfig(d_model=64), 7).encoder
    layer = encoder.layers[0]
    deviations = {"uvqk.weight": 0.02, "distance_bias": 0.02, "w_o.weight": math.sqrt(1 / 64)}
    for name, deviation in deviations.items():
        assert layer.get_parameter(name).std().item() == pytest.approx(deviation, rel=0.15), name
    assert encoder.positions.std().item() == pytest.approx(1 / 8, rel=0.05)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"d_model": 50, "n_heads": 4}, "n_heads=4 must divide d_model=50"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        HSTUConfig(**changes)


def test_longer_histories_are_refused():
    with pytest.raises(InputError, match="5 events, but max_len=4"):
        checks.made("hstu", max_len=4).encode(checks.timed_batch([5]))
