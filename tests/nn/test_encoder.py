from itertools import pairwise

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import close, ragged, small_config

from hydrarec.data.batch import pack
from hydrarec.nn.encoder import HydraEncoder
from hydrarec.nn.state import EncoderState

RELATIVE = 1e-5
FIELDS = ("position", "hidden", "conv", "ssm")


@st.composite
def configs(draw):
    return small_config(
        d_model=draw(st.integers(3, 16)),
        n_layers=draw(st.integers(1, 3)),
        n_heads=draw(st.integers(1, 4)),
        d_head=draw(st.sampled_from([2, 3, 6])),
        expand=draw(st.integers(1, 2)),
        d_state=draw(st.integers(1, 8)),
        d_conv=draw(st.integers(1, 4)),
        ffn=draw(st.sampled_from([0, 2])),
        output_projection=draw(st.booleans()),
    )


def make(config, seed=0, *, time=False):
    torch.manual_seed(seed)
    encoder = HydraEncoder(config, time=time).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return encoder


def histories(config, lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, config.d_model, generator=generator) for length in lengths]


@torch.inference_mode()
def encode(encoder, rows, state=None):
    """rows: (L_u, d) of each user -> hidden states of each user, and the state."""
    lengths = [len(row) for row in rows]
    h, state = encoder(torch.cat(rows), pack([np.zeros(length, np.int64) for length in lengths]), state)
    return list(h.split(lengths)), state


def in_rounds(encoder, rows, bounds):
    """Each user's history in pieces between its own bounds; a round takes the next piece of everybody."""
    state, parts = encoder.initial_state(len(rows)), [[row[:0]] for row in rows]
    for r in range(max(len(bound) for bound in bounds) - 1):
        pieces = [
            row[slice(*bound[r : r + 2])] if r + 1 < len(bound) else row[:0]
            for row, bound in zip(rows, bounds, strict=True)
        ]
        h, state = encode(encoder, pieces, state)
        for part, piece in zip(parts, h, strict=True):
            part.append(piece)
    return [torch.cat(part) for part in parts], state


def same(got: tuple[list[torch.Tensor], EncoderState], expected: tuple[list[torch.Tensor], EncoderState]):
    close(torch.cat(got[0]), torch.cat(expected[0]), RELATIVE)
    assert torch.equal(got[1].position, expected[1].position)
    for name in FIELDS[1:]:
        close(getattr(got[1], name), getattr(expected[1], name), RELATIVE)


@given(config=configs(), lengths=ragged(40, users=3), data=st.data())
@settings(max_examples=50)
def test_whole_chunks_and_steps_agree(config, lengths, data):
    encoder, rows = make(config), histories(config, lengths)
    whole = encode(encoder, rows)
    splits = [data.draw(st.lists(st.integers(0, length), max_size=4)) for length in lengths]
    bounds = [[0, *sorted(cuts), length] for cuts, length in zip(splits, lengths, strict=True)]
    same(in_rounds(encoder, rows, bounds), whole)
    same(in_rounds(encoder, rows, [list(range(length + 1)) for length in lengths]), whole)


def test_long_histories_in_pieces():
    config = small_config()
    encoder, rows = make(config), histories(config, [260, 133])
    whole = encode(encoder, rows)
    same(in_rounds(encoder, rows, [[0, 1, 50, 51, 200, 260], [0, 99, 100, 133]]), whole)
    same(in_rounds(encoder, rows, [[*range(261)], [*range(134)]]), whole)


@given(config=configs(), lengths=ragged(40))
@settings(max_examples=15)
def test_users_do_not_see_each_other(config, lengths):
    encoder, rows = make(config), histories(config, lengths)
    together, state = encode(encoder, rows)
    for user, row in enumerate(rows):
        alone = encode(encoder, [row])
        same(([together[user]], state.select(torch.tensor([user]))), alone)


@given(config=configs(), length=st.integers(2, 60), data=st.data())
@settings(max_examples=15)
def test_a_later_event_changes_no_earlier_output(config, length, data):
    changed = data.draw(st.integers(1, length - 1))
    encoder, (row,) = make(config), histories(config, [length])
    other = row.clone()
    other[changed] += 1
    (before,), _ = encode(encoder, [row])
    (after,), _ = encode(encoder, [other])
    assert torch.equal(before[:changed], after[:changed])
    assert not torch.equal(before[changed], after[changed])


def test_gradients_cross_chunks():
    """What training by chunks would learn from: the state is differentiable."""
    config = small_config()
    encoder, (row,) = make(config).double(), histories(config, [12])
    row = row.double()

    def gradients(bounds):
        x, state, total = row.clone().requires_grad_(), None, torch.zeros(())
        for first, end in pairwise(bounds):
            h, state = encoder(x[first:end], pack([np.zeros(end - first)]), state)
            total = total + h.sin().sum()
        return torch.autograd.grad(total, [x, *encoder.parameters()])

    for got, expected in zip(gradients([0, 5, 6, 12]), gradients([0, 12]), strict=True):
        close(got, expected, 1e-9)


def test_the_state_counts_and_keeps_the_last_hidden_state():
    config = small_config()
    encoder, rows = make(config), histories(config, [3, 0, 5])
    h, state = encode(encoder, rows)
    assert state.position.tolist() == [3, 0, 5]
    assert torch.equal(state.hidden, torch.stack([h[0][-1], torch.zeros(8), h[2][-1]]))
    for name in FIELDS:
        assert not getattr(encoder.initial_state(2), name).any()
    _, unchanged = encode(encoder, [row[:0] for row in rows], state)
    for name in FIELDS:
        assert torch.equal(getattr(unchanged, name), getattr(state, name))


def test_no_users():
    encoder = make(small_config())
    h, state = encoder(torch.zeros(0, 8), pack([]))
    assert h.shape == (0, 8)
    assert len(state) == 0
