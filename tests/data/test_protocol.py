from datetime import UTC, date, datetime

import pytest

from hydrarec.data.protocol import Protocol
from hydrarec.errors import InputError


def test_named_protocols_are_those_of_the_field():
    assert Protocol.named("hstu").exclude_seen
    assert Protocol.named("loo") == Protocol(split="loo")
    assert Protocol.named("time", target="next", quantile=0.8) == Protocol(
        candidates="train", target="next", quantile=0.8
    )


def test_dict_there_and_back():
    protocol = Protocol.named("time", boundary=7, cutoffs=[1, 3])
    assert Protocol.from_dict(protocol.to_dict()) == protocol
    assert protocol.cutoffs == (1, 3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"split": "tiem"}, "choose one of time, loo, hstu"),
        ({"quantile": 1.0}, "between 0 and 1"),
        ({"quantile": 0}, "between 0 and 1"),
        ({"cutoffs": ()}, "positive"),
        ({"cutoffs": (0,)}, "positive"),
        ({"target": "first"}, "choose one of"),
        ({"domains": "mine"}, "domains is 'mine'; choose one of own, all"),
        ({"quantil": 0.5}, "did you mean 'quantile'"),
        ({"xyz": 0.5}, "there are split, quantile"),
        ({"quantile": "0.9"}, "quantile is '0.9'; it must lie between 0 and 1"),
        ({"cutoffs": 10}, "cutoffs is 10; it must be a list"),
        ({"cutoffs": [1.5]}, "positive whole numbers"),
        ({"exclude_seen": "no"}, "exclude_seen is 'no'; it must be true or false"),
        ({"boundary": "soon"}, "'soon' is no time"),
        ({"split": "loo", "target": "next"}, "target is 'next'; it belongs to split time"),
        ({"split": "hstu", "boundary": 7}, "belongs to split time"),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(InputError, match=message):
        Protocol.from_dict(fields)


def test_a_boundary_is_a_date_or_a_time_in_any_unit():
    day = 1_704_067_200  # 2024-01-01, UTC
    for given in ("2024-01-01", date(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC), day, float(day), 1000 * day):
        assert Protocol.named("time", boundary=given).boundary == day
    with pytest.raises(InputError, match="whole seconds since 1970"):
        Protocol(boundary="2024-01-01")


def test_an_unknown_name():
    with pytest.raises(InputError, match="split"):
        Protocol.named("sorted")


@pytest.mark.parametrize("split", ["time", "loo", "hstu"])
def test_describe_is_one_short_line(split):
    of_time = {"boundary": 1_600_000_000, "target": "every"} if split == "time" else {}
    longest = Protocol.named(split, **of_time, candidates="train", exclude_seen=True)
    for protocol in (Protocol.named(split), longest):
        for line in (protocol.describe(), protocol.describe(domains=True)):
            assert split in line
            assert len(line) < 80
            assert "\n" not in line


def test_domains_are_ranked_apart_unless_told_otherwise():
    assert Protocol.named("loo").describe() == "loo, target last; ranks all items"
    assert Protocol.named("loo").describe(domains=True) == "loo, target last; ranks items by domain"
    together = Protocol.named("loo", domains="all")
    assert together.describe(domains=True) == together.describe() == "loo, target last; ranks all items"


def test_a_protocol_stored_before_there_were_domains():
    stored = Protocol.named("time").to_dict()
    assert stored.pop("domains") == "own"
    assert Protocol.from_dict(stored) == Protocol.named("time")
