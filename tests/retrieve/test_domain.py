import numpy as np
import pyarrow as pa
import pytest

from hydrarec.errors import InputError
from hydrarec.retrieve.domain import of_domain

ITEMS = pa.table({"item": list("abcde"), "domain": ["toys", "beauty", "toys", "games", "toys"]})


def test_the_rows_of_a_domain():
    assert of_domain(ITEMS, "toys").tolist() == [0, 2, 4]
    assert of_domain(ITEMS, "games").tolist() == [3]
    assert of_domain(ITEMS, "toys", np.array([4, 1, 0])).tolist() == [4, 0]
    assert of_domain(ITEMS, "toys").dtype == np.int64


@pytest.mark.parametrize(
    ("items", "name", "among", "message"),
    [
        (ITEMS, "toy", None, "no domain 'toy'; did you mean 'toys'.$"),
        (ITEMS, "zzz", None, "no domain 'zzz'; there are beauty, games, toys$"),
        (ITEMS, "beauty", [0, 2], "none of the candidates belongs to domain 'beauty'"),
        (ITEMS.drop("domain"), "toys", None, "no domains; prepare it with --domain COLUMN, or from several sources"),
        (
            pa.table({"item": range(40), "domain": [f"shop {n}" for n in range(100, 140)]}),
            "xyz",
            None,
            r"there are shop 100, .*shop 129 \.\.\.$",
        ),
    ],
)
def test_what_is_no_domain(items, name, among, message):
    with pytest.raises(InputError, match=message):
        of_domain(items, name, None if among is None else np.array(among))
