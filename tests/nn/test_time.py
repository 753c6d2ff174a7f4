import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import small_config

from hydrarec.data.batch import REQUEST_TIMES, Batch, pack
from hydrarec.errors import InputError
from hydrarec.nn.encoder import HydraEncoder
from hydrarec.nn.time import BUCKETS, Gaps, TimeFeatures, gap_buckets


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
    gaps = torch.tensor([0, 1, 3, 7, 2**20 - 1, 2**31, 2**60])
    assert gap_buckets(gaps).tolist() == [1, 3, 5, 7, 41, BUCKETS - 1, BUCKETS - 1]


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
    gaps = Gaps.of(batch_of([[10, 11], [], [500, 500, 507]], [[11, 14], [], [500, 507, 507]]))
    # since: none 1 | none 0 7;  until: 1 3 | 0 7 0
    assert features(gaps)[:, 0].tolist() == [0 + 3000, 3 + 5000, 0 + 1000, 1 + 7000, 7 + 1000]
    assert features(gaps).shape == (5, 4)


def test_the_first_event_after_a_state_has_its_gap():
    gaps = Gaps.of(
        batch_of([[10], [20, 21], [], [7]], [[10], [21, 21], [], [7]]), state_of((3, 4), (0, 0), (9, 1), (1, 7))
    )
    assert gaps.since.tolist() == [6, 0, 1, 0]
    assert gaps.first.tolist() == [False, True, False, False]
    assert gaps.until.tolist() == [0, 1, 0, 0]


def test_histories_do_not_see_each_other():
    both = Gaps.of(batch_of([[5, 9], [100, 164]], [[9, 20], [164, 200]]))
    second = Gaps.of(batch_of([[100, 164]], [[164, 200]]))
    for name in ("since", "first", "until"):
        assert torch.equal(getattr(both, name)[2:], getattr(second, name)), name


def test_times_that_fall_stand_still():
    gaps = Gaps.of(batch_of([[10, 4, 6]], [[4, 6, 1]]))
    assert gaps.since.tolist() == [0, 0, 2]
    assert gaps.until.tolist() == [0, 2, 0]


def test_no_event_at_all():
    gaps = Gaps.of(batch_of([[], []], [[], []]))
    assert gaps.since.numel() == gaps.first.numel() == gaps.until.numel() == 0


def test_without_request_times_it_says_what_is_missing():
    with pytest.raises(InputError, match="give the times of the events and of the request"):
        Gaps.of(pack([[1, 2]], [[3, 4]]))
