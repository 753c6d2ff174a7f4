import torch
from hypothesis import given
from hypothesis import strategies as st
from support import close, offsets_of, ragged

from hydrarec.nn.padded import groups, in_rectangles

GRU = torch.nn.GRU(3, 4, batch_first=True).double().requires_grad_(False)


def encoder(x):
    return GRU(x)[0]


@given(ragged(most=20, users=9), st.sampled_from([0, 5, 256]))
def test_every_history_is_encoded_as_if_it_were_alone(lengths, waste):
    offsets = offsets_of(lengths)
    torch.manual_seed(1)
    x = torch.randn(int(offsets[-1]), 3, dtype=torch.float64, requires_grad=True)
    histories = [history for history in x.split(lengths) if len(history)]
    expected = torch.cat([encoder(history.unsqueeze(0))[0] for history in histories]) if histories else x
    found = in_rectangles(encoder, offsets, x, waste=waste)
    close(found, expected, 1e-12)
    weights = torch.randn(found.shape, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((found * weights).sum(), x)
    (alone,) = torch.autograd.grad((expected * weights).sum(), x)
    close(gradient, alone, 1e-12)


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(0, 60))
def test_groups_hold_every_history_with_events_once_and_little_padding(lengths, waste):
    found = groups(lengths, waste)
    assert sorted(history for group in found for history in group) == [i for i, length in enumerate(lengths) if length]
    in_order = [lengths[history] for group in found for history in group]
    assert in_order == sorted(in_order, reverse=True)
    for number, group in enumerate(found):
        sizes = [lengths[history] for history in group]
        padding = len(sizes) * sizes[0] - sum(sizes)
        assert padding <= waste
        if number + 1 < len(found):  # no history of the next group would have fitted
            assert padding + sizes[0] - lengths[found[number + 1][0]] > waste


def test_known_groups():
    assert groups([5, 9, 0, 8, 5, 1], waste=2) == [[1, 3], [0, 4], [5]]
    assert groups([5, 9, 0, 8, 5, 1], waste=0) == [[1], [3], [0, 4], [5]]
    assert groups([0, 0], waste=9) == groups([], waste=9) == []


def test_padding_repeats_the_last_event_in_every_column():
    seen = []

    def spy(x, times):
        seen.append((x[..., 0].tolist(), times.tolist()))
        return x

    x, times = torch.arange(5.0).unsqueeze(1), torch.arange(10, 15)
    found = in_rectangles(spy, torch.tensor([0, 2, 5]), x, times)
    assert seen == [([[2, 3, 4], [0, 1, 1]], [[12, 13, 14], [10, 11, 11]])]
    assert torch.equal(found, x)
