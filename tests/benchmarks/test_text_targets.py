"""What two data sets both ask."""

import numpy as np
import pytest
from targets import shared, targets_of

from hydrarec.data.protocol import Protocol
from hydrarec.data.store import Dataset

LOO = Protocol.named("loo")


def data_of(**sources):
    """What ``prepare`` makes of rows (user, item, time) of several shops."""
    rows = [(user, time, f"{shop}:{item}") for shop, own in sources.items() for user, item, time in own]
    rows.sort(key=lambda row: row[:2])
    users, items = sorted({row[0] for row in rows}), sorted({row[2] for row in rows})
    return Dataset.from_arrays(
        np.array([items.index(row[2]) for row in rows]),
        np.searchsorted([row[0] for row in rows], [*users, "~"]),
        item_ids=items,
        user_ids=users,
        item_columns={"domain": [item.partition(":")[0] for item in items]},
        protocol=LOO,
    )


# Ann and Bob are in both shops: Ann's last event is in the first, Bob's in the second.
FIRST = [("ann", 1, 1), ("ann", 2, 2), ("ann", 3, 9), ("bob", 1, 1), ("bob", 2, 2), ("bob", 3, 3), ("cy", 2, 1)]
FIRST += [("cy", 3, 2), ("cy", 1, 3)]
SECOND = [("ann", 1, 4), ("bob", 1, 5), ("bob", 2, 6), ("dee", 2, 1), ("dee", 1, 2), ("dee", 3, 3)]


def asked(part="test", **sources):
    return targets_of(data_of(**sources), LOO, part)


def pairs(targets):
    return list(zip(targets.users.to_pylist(), targets.items.to_pylist(), strict=True))


def test_targets_are_named_in_the_order_of_the_split():
    both = asked(first=FIRST, second=SECOND)
    assert pairs(both) == [("ann", "first:3"), ("bob", "second:2"), ("cy", "first:1"), ("dee", "second:3")]
    assert both.domains.tolist() == ["first", "second", "first", "second"]
    assert both.events.tolist() == [4, 5, 3, 3]
    assert pairs(asked("valid", first=FIRST, second=SECOND))[0] == ("ann", "second:1")


def test_only_the_same_person_and_item_is_the_same_question():
    alone, both = asked(first=FIRST), asked(first=FIRST, second=SECOND)
    here, there = shared(alone, both)
    assert [pairs(alone)[i] for i in here] == [pairs(both)[i] for i in there] == [("ann", "first:3"), ("cy", "first:1")]
    assert alone.events[here].tolist() == [3, 3]  # in the shop alone
    back = shared(both, alone)
    assert back[0].tolist() == there.tolist()
    assert back[1].tolist() == here.tolist()


def test_nothing_shared_and_all_shared():
    one = asked(first=FIRST)
    assert [each.tolist() for each in shared(one, asked(second=SECOND))] == [[], []]
    assert [each.tolist() for each in shared(one, one)] == [[0, 1, 2]] * 2


def test_ids_that_run_into_each_other_are_told_apart():
    def of(user, item):
        ids = {"user_ids": [user], "item_ids": sorted(["0", "1", item])}
        items = [ids["item_ids"].index(each) for each in ("0", "1", item)]
        return targets_of(Dataset.from_arrays(np.array(items), np.array([0, 3]), **ids), LOO)

    one, other = of("a b", "c"), of("a", "b c")
    assert pairs(one) == [("a b", "c")]
    assert not len(shared(one, other)[0])


def test_whole_numbers_and_no_domains():
    dataset = Dataset.from_arrays(np.array([0, 1, 2, 2, 1, 0]), np.array([0, 3, 6]), protocol=LOO)
    found = targets_of(dataset, LOO)
    assert pairs(found) == [("0", "2"), ("1", "0")]
    assert found.domains.tolist() == ["", ""]
    assert found.fingerprint == dataset.fingerprint


@pytest.mark.parametrize("seed", range(3))
def test_against_a_dictionary(seed):
    rng = np.random.default_rng(seed)

    def shop(users):
        return [(f"u{user}", int(item), t) for user in users for t, item in enumerate(rng.permutation(9)[:5])]

    one, other = asked(a=shop(range(20)), b=shop(range(10, 30))), asked(a=shop(range(25)))
    place = {key: row for row, key in enumerate(pairs(other))}
    expected = [(row, place[key]) for row, key in enumerate(pairs(one)) if key in place]
    assert list(zip(*(each.tolist() for each in shared(one, other)), strict=True)) == expected
