"""The chunk table and the logarithmic carry: plain torch, on any machine."""

import pytest
import torch
from gpu_cases import normal
from hypothesis import given, settings
from hypothesis import strategies as st
from support import close, offsets_of, ragged

from hydrarec.ops.gpu import carry
from hydrarec.ops.gpu.layout import cut


@given(lengths=ragged(40), size=st.integers(1, 17))
@settings(max_examples=50)
def test_chunks_cover_every_history_in_order(lengths, size):
    offsets = offsets_of(lengths)
    layout = cut(offsets, size)
    expected = [
        (user, begin + k, min(begin + k + size, begin + length), k == 0)
        for user, (begin, length) in enumerate(zip(offsets.tolist(), lengths, strict=False))
        for k in range(0, length, size)
    ]
    columns = (layout.user, layout.first, layout.stop, layout.opens)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == expected
    assert layout.depth == -(-max(lengths) // size)
    places = layout.places(sum(lengths)).tolist()
    assert places == [c * size + t for c, (_, first, stop, _) in enumerate(expected) for t in range(stop - first)]


def walk(decay, added, state, lengths):
    """The recurrence as one reads it, over histories of ``lengths`` chunks."""
    entering, final, k = [], [], 0
    for user, length in enumerate(lengths):
        h = state[user]
        for _ in range(length):
            entering.append(h)
            h = decay[k] * h + added[k]
            k += 1
        final.append(h)
    return torch.stack(entering) if entering else added, torch.stack(final)


@given(lengths=ragged(20))
@settings(max_examples=30)
def test_carry_is_the_walk(lengths):
    n = sum(lengths)
    inputs = normal(n, 2, 1).sigmoid(), normal(n, 2, 3), normal(len(lengths), 2, 3)
    layout = cut(offsets_of(lengths), 1)
    outcomes = []
    for run in (lambda *v: carry.carry(*v, layout), lambda *v: walk(*v, lengths)):
        leaves = [v.clone().requires_grad_() for v in inputs]
        results = run(*leaves)
        weights = [normal(*v.shape, seed=i) for i, v in enumerate(results)]
        outcomes.append([*results, *torch.autograd.grad(results, leaves, weights, materialize_grads=True)])
    for got, expected in zip(*outcomes, strict=True):
        close(got, expected, 1e-12)


def test_gradcheck():
    lengths = [3, 0, 5, 1]
    inputs = normal(9, 1).sigmoid(), normal(9, 2), normal(4, 2)
    layout = cut(offsets_of(lengths), 1)
    assert torch.autograd.gradcheck(lambda *v: carry.carry(*v, layout), tuple(v.requires_grad_() for v in inputs))


@pytest.mark.parametrize("lengths", [[1024], [1, 1024, 3], [4] * 256])
def test_steps_are_the_logarithm_of_the_longest_history(lengths):
    class Counted(torch.Tensor):
        joins = 0

        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            Counted.joins += function is torch.Tensor.addcmul_
            return super().__torch_function__(function, types, args, kwargs or {})

    n, U = sum(lengths), len(lengths)
    added = normal(n, 1).as_subclass(Counted)
    carry.entering_states(normal(n, 1).sigmoid(), added, normal(U, 1), cut(offsets_of(lengths), 1))
    assert Counted.joins == (max(lengths) - 1).bit_length()


def test_a_history_that_forgets_nothing_does_not_leak_into_the_next():
    layout = cut(offsets_of([2, 2]), 1)
    entering, final = carry.carry(
        torch.ones(4, 1), torch.tensor([[1e30], [1e30], [1.0], [2.0]]), torch.zeros(2, 1), layout
    )
    assert entering.flatten().tolist() == pytest.approx([0, 1e30, 0, 1])
    assert final.flatten().tolist() == pytest.approx([2e30, 3])
