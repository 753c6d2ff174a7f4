import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydrarec.data.prepare import prepare
from hydrarec.errors import InputError


def core(frame: pd.DataFrame, min_user: int, min_item: int) -> pd.DataFrame:
    """The definition, one victim at a time."""
    while True:
        users, items = frame["user"].value_counts(), frame["item"].value_counts()
        poor_users, poor_items = users[users < min_user].index, items[items < min_item].index
        if len(poor_users):
            frame = frame[frame["user"] != poor_users[0]]
        elif len(poor_items):
            frame = frame[frame["item"] != poor_items[0]]
        else:
            return frame


@settings(max_examples=25)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 6)), min_size=1, max_size=50),
    min_user=st.integers(1, 5),
    min_item=st.integers(1, 5),
)
def test_core_equals_the_definition(pairs, min_user, min_item):
    frame = pd.DataFrame(pairs, columns=["user", "item"]).assign(time=np.arange(len(pairs)))
    expected = core(frame, min_user, min_item).sort_values("user", kind="stable")
    if expected["item"].nunique() < 2:
        with pytest.raises(InputError, match=r"--min-user|single item"):
            prepare(frame, min_user=min_user, min_item=min_item)
        return
    dataset = prepare(frame, min_user=min_user, min_item=min_item)
    items, users = (
        table[name].to_numpy() for table, name in ((dataset.item_table, "item"), (dataset.user_table, "user"))
    )
    assert items[dataset.items].tolist() == expected["item"].tolist()
    assert np.repeat(users, np.diff(dataset.offsets)).tolist() == expected["user"].tolist()
    assert dataset.item_table["events"].to_pylist() == np.bincount(dataset.items).tolist()
    assert dataset.statistics["removed"]["events"] == len(pairs) - len(expected)
    assert dataset.statistics["removed"]["users"] == frame["user"].nunique() - len(users)


def test_nothing_left_names_the_thresholds():
    frame = pd.DataFrame({"user": [1, 1], "item": [1, 2], "time": [1, 2]})
    with pytest.raises(InputError, match=r"nothing is left .*--min-user 3 and --min-item 1"):
        prepare(frame, min_user=3)
