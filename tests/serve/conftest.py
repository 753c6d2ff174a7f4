import os
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported

import pyarrow as pa
import pytest
from events import ITEMS, TINY, event_table
from language_models import save_llama, trained_tokenizer
from redis_servers import RedisServer

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


WORDS = ["Toy story", "Rose soap", "Green chair", "Éclairs au café", "Tea", "שלום עולם", "Straße", "Spider-Man 2"]


def titles(items=range(1, ITEMS + 1)):
    """A table of items: titles, and a shelf that says whether the id is even."""
    shelves = ["even" if item % 2 == 0 else "odd" for item in items]
    return pa.table({"item": items, "title": [WORDS[item % len(WORDS)] for item in items], "shelf": shelves})


@pytest.fixture(scope="session")
def readers(tmp_path_factory):
    """Runs by name whose items are known by their text; all read time."""
    pytest.importorskip("transformers", reason="transformers (extra llm) is not installed")
    place = tmp_path_factory.mktemp("readers")
    llama = save_llama(place / "llama", trained_tokenizer())
    model = {"items.text.model": str(llama), "items.text.fields": ["title"], "model.time": True}
    kinds = {
        "text": {"items.kind": "text"},
        "both": {"items.kind": "both"},
        "lora": {"items.kind": "text", "items.tuning.mode": "lora"},
    }
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("HYDRAREC_CACHE", str(place / "cache"))
        yield {
            name: Recommender.fit(
                shop_table() if name == "both" else event_table(),
                out=place / name,
                items=titles(),
                settings={**SETTINGS, **model, **kind},
            )
            for name, kind in kinds.items()
        }


@pytest.fixture(scope="session")
def redis_server():
    with tempfile.TemporaryDirectory(prefix="hydra") as place:
        server = RedisServer(place)
        yield server
        server.kill()


@pytest.fixture(params=["plain", "time", "mapped"])
def recommender(request, trained):
    return trained[request.param]
