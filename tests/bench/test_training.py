"""What one training step does, and what each encoder is fed."""

import pytest
import torch

from hydrarec.bench import contenders
from hydrarec.bench.contenders import CONTENDERS, histories, packed_input, padded_input
from hydrarec.bench.measure import default_threads
from hydrarec.bench.training import TrainingStep, training
from hydrarec.nn import mamba_py
from hydrarec.nn.config import EncoderConfig
from hydrarec.nn.swiglu import SwiGLU


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


def test_a_step_is_adamw_on_a_weighted_sum_of_the_outputs():
    torch.manual_seed(0)
    encoder, twin = (CONTENDERS["GRU"](8, 5).eval() for _ in range(2))
    twin.load_state_dict(encoder.state_dict())
    given = padded_input(encoder, [3, 5], 8, 5)
    TrainingStep(encoder, [given])()
    x = given.x.detach().clone().requires_grad_()
    optimiser = torch.optim.AdamW(twin.parameters())
    (twin(x) * given.weights).sum().backward()
    optimiser.step()
    assert torch.allclose(given.x.grad, x.grad, atol=1e-6)
    for mine, expected in zip(encoder.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(mine, expected, atol=1e-5)


def test_gradients_do_not_add_up_over_steps():
    step = training("GRU", [[4]], 8).variant.run
    step.inputs[0].forward.eval()
    for group in step.optimiser.param_groups:
        group["lr"] = 0.0
    step()
    first = step.inputs[0].x.grad.clone()
    step()
    assert torch.allclose(step.inputs[0].x.grad, first, atol=1e-6)


@pytest.mark.parametrize("name", CONTENDERS)
def test_every_contender_has_two_layers_and_takes_histories_of_different_lengths(name):
    if name == "mambapy" and not mamba_py.available():
        pytest.skip("mambapy (extra bench) is not installed")
    subject = training(name, [[5, 2, 7]], 8)
    encoder = CONTENDERS[name](8, 7)
    assert len(encoder.layers) == 2
    assert subject.parameters == sum(parameter.numel() for parameter in encoder.parameters())
    assert (subject.events, subject.length) == (14, 7)
    assert subject.variant.threads == default_threads()
    subject.variant.run()
    assert all(torch.isfinite(each.x.grad).all() for each in subject.variant.run.inputs)


def test_what_a_row_says_of_the_input():
    assert training("Hydra", [[4, 4]], 8).shape == "2 x 4, d 8"
    ragged = training("Hydra", [[4, 2]], 8, shape="real lengths, packed", threads=1, repeat=3, note="n")
    assert (ragged.shape, ragged.length, ragged.note) == ("real lengths, packed", None, "n")
    assert (ragged.variant.threads, ragged.variant.repeat) == (1, 3)


def test_only_hstu_is_given_times():
    times = []
    hstu = CONTENDERS["HSTU"](8, 6)
    hstu.register_forward_pre_hook(lambda module, given: times.append(given[1]))
    padded_input(hstu, [6, 2], 8, 6).forward(torch.randn(2, 6, 8))
    assert times[0].shape == (2, 6)
    assert (times[0].diff(dim=1) > 0).all()
    sasrec = CONTENDERS["SASRec"](8, 6)
    assert contenders.padded_input(sasrec, [6, 2], 8, 6).forward is sasrec


def test_packed_histories_begin_where_they_should():
    assert histories([3, 0, 2]).offsets.tolist() == [0, 3, 3, 5]
    given = packed_input(CONTENDERS["Hydra"](8, 3).eval(), [3, 2], 8)
    changed = given.x.detach().clone()
    changed[:3] = 0
    with torch.no_grad():
        assert torch.allclose(given.forward(given.x)[3:], given.forward(changed)[3:], atol=1e-6)
