import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import offsets_of, ragged

from hydrarec.ops.chunks import chunks, from_chunks, to_chunks

layouts = given(lengths=ragged(40, users=6), size=st.integers(1, 12))


@layouts
@settings(max_examples=50)
def test_counts_levels_and_order(lengths, size):
    layout = chunks(offsets_of(lengths), size)
    assert layout.size == max(1, min(size, max(lengths)))
    Q = layout.size
    expected = [sum(length > k * Q for length in lengths) for k in range(-(-max(lengths) // Q))]
    assert layout.counts == expected
    assert layout.total == sum(-(-length // Q) for length in lengths)
    longest_first = [lengths[user] for user in layout.order.tolist()]
    assert longest_first == sorted(lengths, reverse=True)
    assert torch.equal(layout.order[layout.rank()], torch.arange(len(lengths)))
    levels = layout.levels()
    assert [level.stop - level.start for level in levels] == layout.counts
    assert [level.start for level in levels[1:]] == [level.stop for level in levels[:-1]]


@layouts
@settings(max_examples=50)
def test_every_event_lies_in_its_own_place(lengths, size):
    offsets = offsets_of(lengths)
    layout = chunks(offsets, size)
    places = layout.place.tolist()
    assert len(set(places)) == len(places) == sum(lengths)
    rank, levels = layout.rank().tolist(), layout.levels()
    for user, length in enumerate(lengths):
        for position in range(length):
            k, q = divmod(position, layout.size)
            assert places[int(offsets[user]) + position] == (levels[k].start + rank[user]) * layout.size + q


@layouts
@settings(max_examples=50)
def test_there_and_back_with_gradients(lengths, size):
    layout = chunks(offsets_of(lengths), size)
    x = torch.randn(sum(lengths), 2, 3, requires_grad=True)
    rectangle = to_chunks(x, layout)
    assert rectangle.shape == (2, layout.total, layout.size, 3)
    assert torch.equal(from_chunks(rectangle, layout), x)
    assert rectangle.count_nonzero() == x.count_nonzero()  # zeros in the padding
    weight = torch.randn_like(x)
    (gradient,) = torch.autograd.grad((from_chunks(rectangle * 3, layout) * weight).sum(), x)
    torch.testing.assert_close(gradient, 3 * weight)


def test_no_histories_and_no_events():
    for offsets in (torch.tensor([0]), torch.tensor([0, 0, 0])):
        layout = chunks(offsets, 8)
        assert layout.total == 0
        assert layout.place.numel() == 0
        assert to_chunks(torch.zeros(0, 2, 3), layout).shape == (2, 0, 1, 3)
