import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydrarec.data.prefix import training_events
from hydrarec.data.protocol import Protocol
from hydrarec.data.split import leakage_warning, split, time_boundaries
from hydrarec.data.store import Dataset
from hydrarec.errors import InputError

# user        0                 1            2       3          4
# position    0  1  2  3  4     5  6  7      8       9  10      11 12 13
HAND_TIMES = [1, 2, 5, 8, 9, *[3, 6, 7], 4, *[8, 10], *[6, 8, 8]]
HAND = Dataset.from_arrays(
    np.array([0, 1, 2, 3, 4, 0, 2, 1, 0, 3, 4, 1, 2, 5]),
    np.array([0, 5, 8, 9, 11, 14]),
    times=np.array(HAND_TIMES),
)


def check(result, train_ends, valid, test):
    assert result.train_ends.tolist() == train_ends
    assert result.valid.tolist() == valid
    assert result.test.tolist() == test


def test_hstu_by_hand():
    check(split(HAND, Protocol.named("hstu")), [4, 7, 9, 10, 13], [], [4, 7, 10, 13])


def test_loo_by_hand():
    check(split(HAND, Protocol.named("loo")), [3, 6, 9, 11, 12], [3, 6, 12], [4, 7, 13])


@pytest.mark.parametrize(
    ("target", "valid", "test"),
    [
        ("last", [2, 7], [4, 10, 13]),
        ("next", [2, 6], [3, 12]),  # the first event after the boundary is user 3's very first one
        ("every", [2, 6, 7], [3, 4, 10, 12, 13]),
    ],
)
def test_time_by_hand(target, valid, test):
    protocol = Protocol.named("time", boundary=8, quantile=0.5, target=target)
    # before 8: 1 2 3 4 5 6 6 7, of which the median is 4.5
    assert time_boundaries(HAND, protocol) == (5, 8)
    check(split(HAND, protocol), [2, 6, 9, 9, 11], valid, test)


def test_quantile_boundary():
    times = np.arange(100) + 1000
    dataset = Dataset.from_arrays(np.zeros(100, int), np.array([0, 100]), times=times)
    # 90 % of the events lie before 1090 (linear interpolation: 1089.1), 90 % of those before 1081 (1080.1)
    assert time_boundaries(dataset, Protocol()) == (1081, 1090)


def test_events_at_one_time_before_the_boundary_all_train():
    dataset = Dataset.from_arrays(np.zeros(4, int), np.array([0, 4]), times=np.array([1, 1, 1, 2]))
    check(split(dataset, Protocol(boundary=2)), [3], [], [3])


def test_leakage_is_told():
    assert leakage_warning(Protocol()) is None
    for name in ("loo", "hstu"):
        assert name in leakage_warning(Protocol.named(name))
        assert "\n" not in leakage_warning(Protocol.named(name))


@pytest.mark.parametrize("boundary", [1, 11, -5])
def test_a_boundary_outside_the_events(boundary):
    with pytest.raises(InputError, match="must lie after the first event"):
        split(HAND, Protocol(boundary=boundary))


def test_time_needs_times():
    dataset = Dataset.from_arrays(np.zeros(4, int), np.array([0, 4]))
    with pytest.raises(InputError, match="--protocol loo"):
        split(dataset, Protocol())


@pytest.mark.parametrize("protocol", [Protocol.named("loo"), Protocol.named("hstu"), Protocol(boundary=2)])
def test_no_targets(protocol):
    dataset = Dataset.from_arrays(np.array([0, 1]), np.array([0, 1, 2]), times=np.array([1, 2]))
    with pytest.raises(InputError, match="no test target"):
        split(dataset, protocol)


@settings(max_examples=150)
@given(st.data())
def test_properties(data):
    lengths = np.array(data.draw(st.lists(st.integers(0, 6), min_size=1, max_size=12)))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    events = int(offsets[-1])
    times = np.array(data.draw(st.lists(st.integers(0, 20), min_size=events, max_size=events)), np.int64)
    users = np.repeat(np.arange(len(lengths)), lengths)
    times = times[np.lexsort((times, users))]
    name = data.draw(st.sampled_from(["time", "loo", "hstu"]))
    target = data.draw(st.sampled_from(["last", "next", "every"]))
    quantile = data.draw(st.sampled_from([0.2, 0.5, 0.9]))
    protocol = Protocol(target=target, quantile=quantile) if name == "time" else Protocol(split=name)
    dataset = Dataset.from_arrays(np.arange(events), offsets, times=times)
    try:
        result = split(dataset, protocol)
    except InputError:
        return
    assert np.all((offsets[:-1] <= result.train_ends) & (result.train_ends <= offsets[1:]))
    trained = set(np.flatnonzero(np.arange(events) < result.train_ends[users]))
    assert set(training_events(dataset, result.train_ends)[0]) == trained
    for targets in (result.valid, result.test):
        assert np.all(np.diff(targets) > 0)
        assert not trained & set(targets)
        assert np.all(targets > offsets[users[targets]])  # a history
        if target != "every" or name != "time":
            assert len(set(users[targets])) == len(targets)
    assert not set(result.valid) & set(result.test)
    if name == "time":
        valid_boundary, test_boundary = time_boundaries(dataset, protocol)
        assert all(times[p] < valid_boundary for p in trained)
        assert all(valid_boundary <= times[p] < test_boundary for p in result.valid)
        assert all(times[p] >= test_boundary for p in result.test)
