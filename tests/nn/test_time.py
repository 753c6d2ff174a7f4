import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import small_config

from hydrarec.data.batch import REQUEST_TIMES, Batch, pack
from hydrarec.errors import InputError
from hydrarec.nn.encoder import HydraEncoder
from hydrarec.nn.time import BUCKETS, TimeFeatures, gap_buckets, gaps_before


def batch_of(times, asked):
    """One history a list."""
    packed = pack([[0] * len(each) for each in times], times)
    return Batch(
        items=packed.items,
        times=packed.times,
        offsets=packed.offsets,
        columns={REQUEST_TIMES: torch.tensor([moment for each in asked for moment in each])},
    )


def state_of(*positions_and_times):
    state = HydraEncoder(small_config()).initial_state(len(positions_and_times))
    for user, (position, time) in enumerate(positions_and_times):
        state.position[user], state.time[user] = position, time
    return state


def test_buckets_double_every_second_one():
    gaps = torch.tensor([-5, 0, 1, 3, 7, 2**20 - 1, 2**31, 2**60])
    assert gap_buckets(gaps).tolist() == [1, 1, 3, 5, 7, 41, BUCKETS - 1, BUCKETS - 1]


@given(st.lists(st.integers(0, 2**40), min_size=2, max_size=20))
def test_a_longer_gap_has_no_lower_bucket(gaps):
    buckets = gap_buckets(torch.tensor(sorted(gaps))).tolist()
    assert buckets == sorted(buckets)
    assert min(buckets) >= 1
    assert max(buckets) < BUCKETS


def test_features_are_the_two_buckets_vectors():
    features = TimeFeatures(4)
    with torch.no_grad():
        features.since.copy_(torch.arange(BUCKETS)[:, None].expand(-1, 4))
        features.until.copy_(1000 * torch.arange(BUCKETS)[:, None].expand(-1, 4))
    batch = batch_of([[10, 11], [], [500, 500, 507]], [[11, 14], [], [500, 507, 507]])
    # since: none 1 | none 0 7;  until: 1 3 | 0 7 0
    expected = [0 + 3000, 3 + 5000, 0 + 1000, 1 + 7000, 7 + 1000]
    assert features(batch)[:, 0].tolist() == expected
    assert features(batch).shape == (5, 4)


def test_the_first_event_after_a_state_has_its_gap():
    batch = batch_of([[10], [20, 21], [], [7]], [[10], [21, 21], [], [7]])
    state = state_of((3, 4), (0, 0), (9, 1), (1, 7))
    assert gaps_before(batch, state)[[0, 2, 3]].tolist() == [6, 1, 0]
    features = TimeFeatures(2)
    got = features(batch, state) - features.until[gap_buckets(batch.request_times - batch.times)]
    expected = features.since[torch.tensor([gap_buckets(torch.tensor(6)), 0, 3, 1])]
    torch.testing.assert_close(got, expected)


def test_histories_do_not_see_each_other():
    features = TimeFeatures(3)
    both = features(batch_of([[5, 9], [100, 164]], [[9, 20], [164, 200]]))
    second = features(batch_of([[100, 164]], [[164, 200]]))
    torch.testing.assert_close(both[2:], second)


def test_without_request_times_it_says_what_is_missing():
    with pytest.raises(InputError, match="give the times of the events and of the request"):
        TimeFeatures(3)(pack([[1, 2]], [[3, 4]]))
