"""How often the windows of each domain come, against their definition."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import dataset_of, ragged

from hydrarec.data.mixture import Mixture, apportion, window_domains
from hydrarec.data.store import Dataset
from hydrarec.data.windows import EpochBatches, Windows, windows


def windows_of(inputs):
    """Windows of so many inputs, one history each."""
    ends = np.cumsum(np.array(inputs) + 1)
    return Windows(first=ends - inputs - 1, end=ends)


def numbers(source, drawn):
    """The numbers of windows, by where they begin."""
    return np.searchsorted(source.first, drawn.first)


@st.composite
def shops(draw):
    """Windows, the domain of each, a power, a seed."""
    inputs = draw(st.lists(st.integers(1, 9), min_size=1, max_size=40))
    domains = draw(st.lists(st.sampled_from([0, 0, 0, 2, 5]), min_size=len(inputs), max_size=len(inputs)))
    return windows_of(inputs), np.array(domains), draw(st.floats(0, 1)), draw(st.integers(0, 99))


@given(shops())
@settings(max_examples=80)
def test_every_epoch_keeps_shares_and_number_and_all_windows_come_alike(given_shops):
    source, domains, power, seed = given_shops
    mixture = Mixture(source, domains, power, seed)
    codes, W = sorted(set(domains.tolist())), len(domains)
    n = {code: source.inputs[domains == code].sum() for code in codes}
    weight = {code: (domains == code).sum() * n[code] ** (power - 1) for code in codes}
    expected = {code: W * weight[code] / sum(weight.values()) for code in codes}
    alone = any(share < 1 for share in expected.values())  # a domain that would get no window gets one of another
    total, per_epoch = Counter(), []
    for number in range(6):
        drawn = numbers(source, mixture.epoch(number))
        assert len(drawn) == W
        assert (np.diff(drawn) >= 0).all()
        counts = Counter(domains[drawn].tolist())
        per_epoch.append(counts)
        for code in codes:
            assert counts[code] >= 1
            assert alone or abs(counts[code] - expected[code]) < 1
            own = np.bincount(drawn, minlength=W)[domains == code]
            assert own.max() - own.min() <= 1  # none comes again before all have come
        total.update(drawn.tolist())
        for code in codes:
            times = [total[window] for window in np.flatnonzero(domains == code)]
            assert max(times) - min(times) <= 1
    assert all(counts == per_epoch[0] for counts in per_epoch)
    again = numbers(source, Mixture(source, domains, power, seed).epoch(5))
    assert again.tolist() == drawn.tolist()


@given(shops())
@settings(max_examples=30)
def test_enough_epochs_show_every_window(given_shops):
    source, domains, power, seed = given_shops
    mixture = Mixture(source, domains, power, seed)
    counts = Counter(domains[numbers(source, mixture.epoch(0))].tolist())
    enough = max(-(-int((domains == code).sum()) // count) for code, count in counts.items())
    shown = {window for number in range(enough) for window in numbers(source, mixture.epoch(number)).tolist()}
    assert shown == set(range(len(domains)))


@given(shops())
@settings(max_examples=30)
def test_power_1_and_a_single_domain_are_the_data_as_it_is(given_shops):
    source, domains, power, seed = given_shops
    for mixture in (Mixture(source, domains, 1.0, seed), Mixture(source, np.zeros_like(domains), power, seed)):
        for number in (0, 3):
            assert mixture.epoch(number).first.tolist() == source.first.tolist()
            assert mixture.epoch(number).end.tolist() == source.end.tolist()
        assert mixture.events == pytest.approx(source.inputs.sum())


@pytest.mark.parametrize("power", [0.0, 0.3, 0.5, 1.0])
def test_events_follow_the_power_whatever_the_windows_hold(power):
    """One shop has few long histories, the other many short ones."""
    inputs = np.array([50] * 600 + [4] * 3000)
    domains = np.array([1] * 600 + [0] * 3000)
    mixture = Mixture(windows_of(inputs), domains, power, 0)
    epoch = mixture.epoch(2)
    long = epoch.inputs[epoch.inputs == 50].sum()
    short = epoch.inputs[epoch.inputs == 4].sum()
    assert long / short == pytest.approx((30_000 / 12_000) ** power, rel=0.02)
    assert mixture.events == long + short


def test_small_domains_come_again_and_of_large_ones_another_part():
    domains = np.array([0] * 900 + [1] * 100)
    source = windows_of([5] * 1000)
    mixture = Mixture(source, domains, 0.5, 0)
    first, second = (numbers(source, mixture.epoch(number)) for number in (0, 1))
    assert Counter(domains[first].tolist()) == {0: 750, 1: 250}
    large = [set(each[each < 900].tolist()) for each in (first, second)]
    assert [len(each) for each in large] == [750, 750]
    assert len(large[0] & large[1]) == 600  # the 150 that were left out come, and 600 of the others
    assert set(range(900)) == large[0] | large[1]
    other = numbers(source, Mixture(source, domains, 0.5, 1).epoch(0))
    assert set(other.tolist()) != set(first.tolist())


def test_batches_of_a_drawn_epoch_begin_anywhere():
    data = dataset_of([[row] * 4 for row in range(30)])
    source = windows(data, data.offsets[1:], 0, "all")
    drawn = Mixture(source, np.arange(30) // 25, 0.0, 7).epoch(3)
    assert len(set(drawn.first.tolist())) < 30
    whole = list(EpochBatches(data, drawn, 10, 7, 3).start_at(0))
    for index in range(len(whole)):
        rest = EpochBatches(data, Mixture(source, np.arange(30) // 25, 0.0, 7).epoch(3), 10, 7, 3).start_at(index)
        assert [batch.items.tolist() for batch in rest] == [batch.items.tolist() for batch in whole[index:]]


@given(lengths=ragged(12, users=6), names=st.lists(st.sampled_from("abc"), min_size=9, max_size=9), data=st.data())
@settings(max_examples=60)
def test_a_window_belongs_to_the_domain_of_most_of_its_targets(lengths, names, data):
    items = [data.draw(st.lists(st.integers(0, 8), min_size=n, max_size=n)) for n in lengths]
    offsets = np.cumsum([0, *lengths])
    flat = [item for history in items for item in history]
    shelf = Dataset.from_arrays(flat, offsets, item_ids=np.arange(9), item_columns={"domain": names})
    source = windows(shelf, offsets[1:], data.draw(st.integers(0, 5)), "all")
    found = window_domains(shelf, source)
    for first, end, code in zip(source.first, source.end, found, strict=True):
        counts = Counter(names[flat[place]] for place in range(first + 1, end))
        most = min(name for name in counts if counts[name] == max(counts.values()))
        assert shelf.domains[code] == most


def test_windows_of_data_without_domains_are_alike(monkeypatch):
    data = dataset_of([[0, 1, 2], [2, 1]])
    assert window_domains(data, windows(data, data.offsets[1:], 1, "all")).tolist() == [0, 0, 0]
    monkeypatch.setattr("hydrarec.data.mixture._CELLS", 2)  # a window at a time
    shelf = Dataset.from_arrays(data.items, data.offsets, item_columns={"domain": ["x", "y", "x"]})
    assert window_domains(shelf, windows(shelf, data.offsets[1:], 1, "all")).tolist() == [0, 1, 1]


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=12), st.integers(0, 200))
def test_apportioning(weights, more):
    total = len(weights) + more
    counts = apportion(np.array(weights), total)
    assert counts.sum() == total
    assert counts.min() >= 1
    exact = total * np.array(weights) / sum(weights)
    assert (abs(counts - exact) < 1).all() or exact.min() < 1
