"""Recommendations from one domain, to users whose histories span several."""

import pyarrow as pa
import pytest
from events import ITEMS, TINY, event_table, history

from hydrarec import InputError, Protocol, Recommender

SHOPS = {"odd": range(1, ITEMS + 1, 2), "even": range(2, ITEMS + 1, 2)}


def domain_of(item):
    return "odd" if item % 2 else "even"


@pytest.fixture(scope="module")
def hydra(tmp_path_factory):
    events = event_table()
    events = events.append_column("domain", pa.array([domain_of(item) for item in events["item"].to_pylist()]))
    return Recommender.fit(events, out=tmp_path_factory.mktemp("domains") / "run", settings=TINY)


def scores(answer):
    return {(row["user"], row["item"]): row["score"] for row in answer.to_pylist()}


def asked(hydra, way):
    """A user, a history and a state: both domains are in each."""
    return {
        "users": {"users": [3, 8]},
        "histories": {"histories": [history(3), history(8)]},
        "states": {"states": hydra.observe(hydra.initial_state(2), [history(3), history(8)])},
    }[way]


@pytest.mark.parametrize("name", SHOPS)
@pytest.mark.parametrize("way", ["users", "histories", "states"])
def test_only_items_of_the_domain_with_the_scores_that_the_whole_history_gives(hydra, way, name):
    request = asked(hydra, way)
    everything = scores(hydra.recommend(**request, k=ITEMS))
    answer = hydra.recommend(**request, k=ITEMS, domain=name)
    expected = {(user, item): score for (user, item), score in everything.items() if item in SHOPS[name]}
    assert scores(answer) == expected
    assert answer["rank"].to_pylist() == [1, 2, 3, 4, 5, 6] * 2
    first = answer.filter(pa.compute.less_equal(answer["rank"], 2))
    assert hydra.recommend(**request, k=2, domain=name).equals(first)


def test_together_with_candidates_and_seen_items(hydra):
    how = {"k": ITEMS, "domain": "even"}
    assert {item for _, item in scores(hydra.recommend([[1, 2, 4]], exclude_seen=True, **how))} == {6, 8, 10, 12}
    answer = hydra.recommend([[1, 2, 4]], exclude_seen=True, candidates=[2, 3, 6, 8], **how)
    assert {item for _, item in scores(answer)} == {6, 8}
    with pytest.raises(InputError, match="none of the candidates belongs to domain 'even'"):
        hydra.recommend([[1]], candidates=[3, 5], **how)


def test_an_unknown_domain(hydra, tmp_path):
    with pytest.raises(InputError, match=r"no domain 'evn'; did you mean 'even'\?"):
        hydra.recommend(users=[3], domain="evn")
    plain = Recommender.fit(event_table(), out=tmp_path / "run", model="popularity")
    with pytest.raises(InputError, match="has no domains"):
        plain.recommend(users=[3], domain="even")


def test_a_copy_of_the_run_knows_its_domains(hydra, tmp_path):
    hydra.save(tmp_path / "copy")
    answer = Recommender.load(tmp_path / "copy").recommend([history(3)], domain="odd")
    assert answer.equals(hydra.recommend([history(3)], domain="odd"))


def test_training_measures_by_domain(hydra, tmp_path):
    measured = hydra.run.metrics["test"]
    assert hydra.run.protocol.domains == "own"
    targets = [measured["groups"][f"domain {name}"]["queries"] for name in ("even", "odd")]
    assert sum(targets) == measured["queries"]
    assert measured["metrics"]["coverage@10"] == 1  # the first ten places hold all six items of a domain
    assert measured["metrics"]["HR@10"] == 1
    together = Protocol.named("time", domains="all")
    again = Recommender.fit(hydra.dataset, out=tmp_path / "run", model="popularity", protocol=together)
    assert again.run.metrics["test"]["groups"].keys() >= {"domain even", "domain odd"}
    assert again.run.metrics["test"]["metrics"]["HR@10"] < 1


def test_shops_given_by_name(tmp_path):
    events = event_table()
    shops = {
        name: events.filter(pa.compute.is_in(events["item"], pa.array(list(items)))) for name, items in SHOPS.items()
    }
    fitted = Recommender.fit(shops, out=tmp_path / "run", model="markov")
    # Item i is followed by item i + 1, of the other shop: histories were merged.
    assert fitted.recommend([["odd:3"]], k=1)["item"].to_pylist() == ["even:4"]
    assert fitted.recommend(users=[1], k=1, domain="odd")["item"].to_pylist() == ["odd:1"]
