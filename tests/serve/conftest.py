import pyarrow as pa
import pytest
from events import TINY, event_table

from hydrarec import Recommender

SETTINGS = {**TINY, "train.max_len": 0, "train.epochs": 2}


def shop_table():
    """The events of ``events.event_table``, the items in two domains."""
    table = event_table()
    return table.append_column(
        "domain", pa.array(["even" if item % 2 == 0 else "odd" for item in table["item"].to_pylist()])
    )


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Runs by name: Hydra that reads time or does not, or whose items lie on disk; and one without a state."""
    place = tmp_path_factory.mktemp("serve")
    return {
        "plain": Recommender.fit(shop_table(), out=place / "plain", settings=SETTINGS),
        "time": Recommender.fit(shop_table(), out=place / "time", settings={**SETTINGS, "model.time": True}),
        "mapped": Recommender.fit(
            shop_table(),
            out=place / "mapped",
            settings={**SETTINGS, "items.storage": "mapped", "loss.kind": "sampled"},
        ),
        "markov": Recommender.fit(shop_table(), out=place / "markov", model="markov"),
    }


@pytest.fixture(params=["plain", "time", "mapped"])
def recommender(request, trained):
    return trained[request.param]
