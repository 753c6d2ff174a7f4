"""Segments change memory, never a result: states, loss and gradients are those of the whole history."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import close, ragged, small_config

from hydrarec.data.batch import Batch, pack
from hydrarec.losses.softmax import full_softmax
from hydrarec.models.hydra import Hydra, HydraConfig
from hydrarec.nn.segments import segments

ITEMS = 11


def histories(lengths, seed=0):
    generator = np.random.default_rng(seed)
    return pack([generator.integers(0, ITEMS, length) for length in lengths])


def hydra(seed=0, **changes):
    torch.manual_seed(seed)
    config = small_config(**changes)
    model = Hydra(HydraConfig(**vars(config)), ITEMS).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


def learned(model, batch, state, encode):
    """(loss, gradients of all parameters, state)."""
    model.zero_grad()
    hidden, after = encode(batch, state)
    targets = torch.arange(len(batch.items)) % ITEMS
    value = full_softmax(model.queries(hidden), model.catalog(), targets, model.scale)
    (value + sum(part.double().sin().sum() for part in after.tensors().values())).backward()
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    return value.detach(), gradients, after.detach()


def same(got, expected, relative=1e-10):
    close(got[0], expected[0], relative)
    largest = max(g.abs().max() for g in expected[1])
    for mine, theirs in zip(got[1], expected[1], strict=True):
        assert (mine - theirs).abs().max() <= relative * largest
    assert torch.equal(got[2].position, expected[2].position)
    for name, value in expected[2].tensors().items():
        close(got[2].tensors()[name], value, relative)


@given(lengths=ragged(30, users=5), size=st.integers(1, 32))
@settings(max_examples=50)
def test_segments_hold_every_event_once_longest_history_first(lengths, size):
    batch = histories(lengths)
    owner = torch.repeat_interleave(torch.arange(len(lengths)), batch.lengths)
    batch = Batch(items=batch.items, times=batch.times + 5, offsets=batch.offsets, columns={"owner": owner})
    places, before = [], None
    for number, segment in enumerate(segments(batch, size)):
        part = segment.batch
        assert torch.equal(part.items, batch.items[segment.places])
        assert torch.equal(part.times, batch.times[segment.places])
        owners = part.columns["owner"][part.offsets[:-1]].tolist()
        assert part.lengths.tolist() == [min(size, lengths[user] - number * size) for user in owners]
        assert [lengths[user] for user in owners] == sorted([n for n in lengths if n > number * size], reverse=True)
        assert before is None or before[: len(owners)] == owners
        before = owners
        places += segment.places.tolist()
    assert sorted(places) == list(range(sum(lengths)))


@given(
    lengths=ragged(24),
    size=st.sampled_from([1, 2, 7, 16, 64]),
    carried=st.booleans(),
)
@settings(max_examples=20)
def test_recomputed_in_segments_loss_and_gradients_are_those_of_the_whole(lengths, size, carried):
    model, batch = hydra(), histories(lengths)
    state = model.resume(histories([3] * len(lengths), seed=1), None)[1].detach() if carried else None
    expected = learned(model, batch, state, model.resume)
    same(learned(model, batch, state, lambda b, s: model.resume_recomputing(b, s, size)), expected)
    model.read_events = size
    with torch.inference_mode():
        hidden, after = model.read(batch, state)
        plain, _ = model.resume(batch, state)
    close(hidden, plain, 1e-10)
    close(after.ssm, expected[2].ssm, 1e-10)


def test_dropout_is_the_same_in_forward_and_backward():
    """A fixed seed gives a fixed result, and the gradient is that of the loss which was computed."""
    model, batch = hydra(dropout=0.3), histories([50, 9, 0, 31])
    model.train()

    def run():
        torch.manual_seed(5)
        return learned(model, batch, None, lambda b, s: model.resume_recomputing(b, s, 8))

    first, second = run(), run()
    same(second, first, 0.0)
    # Against a difference quotient, along the gradient itself.
    gradients, step = [g.clone() for g in first[1]], 1e-8
    norm = sum((g**2).sum() for g in gradients)

    def total(sign):
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter += sign * step * gradient
            torch.manual_seed(5)
            hidden, after = model.resume_recomputing(batch, None, 8)
            targets = torch.arange(len(batch.items)) % ITEMS
            value = full_softmax(model.queries(hidden), model.catalog(), targets, model.scale)
            return value + sum(part.double().sin().sum() for part in after.tensors().values())

    slope = (total(1) - total(-2)) / (2 * step)
    assert slope.item() == pytest.approx(norm.item(), rel=1e-4)


def test_what_a_segment_does_not_need_is_not_kept():
    """The tensors that wait for the backward do not grow with the segment's activations, only with hidden states."""

    def kept(size):
        model, batch = hydra(), histories([256])
        total = []

        def pack_(tensor):
            total.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack_, lambda tensor: tensor):
            model.resume_recomputing(batch, None, size)
        return sum(total)

    assert kept(32) < kept(256) / 10
