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
        ({"quantil": 0.5}, "did you mean quantile"),
        ({"xyz": 0.5}, "the fields are"),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(InputError, match=message):
        Protocol.from_dict(fields)


def test_an_unknown_name():
    with pytest.raises(InputError, match="split"):
        Protocol.named("sorted")


@pytest.mark.parametrize("split", ["time", "loo", "hstu"])
def test_describe_is_one_short_line(split):
    longest = Protocol.named(split, boundary=1_600_000_000, target="every", candidates="train", exclude_seen=True)
    for protocol in (Protocol.named(split), longest):
        assert split in protocol.describe()
        assert len(protocol.describe()) < 80
        assert "\n" not in protocol.describe()
