import numpy as np
import pytest

from hydrarec.data.protocol import Protocol
from hydrarec.data.simulation.clock import event_times
from hydrarec.data.simulation.people import People, SimulationConfig
from hydrarec.data.simulation.shop import ShopConfig, open_shop
from hydrarec.data.simulation.simulate import place_of, simulate
from hydrarec.data.split import split
from hydrarec.errors import InputError
from hydrarec.evaluate.evaluate import evaluate
from hydrarec.evaluate.metrics import hit_rate, ndcg
from hydrarec.models.itemknn import ItemKNN, ItemKNNConfig
from hydrarec.models.markov import Markov, MarkovConfig
from hydrarec.models.popularity import Popularity, PopularityConfig

SMALL = ShopConfig(n_items=60, categories=2, staple_share=0.1, series=3, series_length=10)


@pytest.fixture(scope="module")
def simulation():
    return simulate(SimulationConfig(n_users=600, shop=ShopConfig(n_items=500)), seed=3)


def crowd(n_users, steps=25, seed=0, config=None):
    """Many people with one and the same past."""
    config = config or SimulationConfig(shop=SMALL)
    generator = np.random.default_rng(seed)
    shop = open_shop(config.shop, generator)
    one, many = People(config, shop, 1), People(config, shop, n_users)
    for _ in range(steps):
        item = one.choose(generator.random(1) < config.new_session, generator)
        one.observe(item)
        many.observe(np.repeat(item, n_users))
    return config, many, generator


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("steps", [0, 1, 25])
def test_people_buy_with_the_stated_chances(seed, steps):
    config, people, generator = crowd(20_000, steps, seed)
    chances = people.distribution()
    assert chances.sum(1) == pytest.approx(1)
    assert (chances == chances[0]).all()
    chosen = people.choose(generator.random(20_000) < config.new_session, generator)
    bought = np.bincount(chosen, minlength=60)
    expected = 20_000 * chances[0]
    assert not bought[expected == 0].any()
    some = expected > 0
    statistic = ((bought - expected)[some] ** 2 / expected[some]).sum()
    freedom = some.sum() - 1
    assert abs(statistic - freedom) < 5 * np.sqrt(2 * freedom)  # chi-square: mean and five deviations


def test_two_items_tell_the_series():
    _, people, _ = crowd(2, steps=0)
    first = people.shop.series[0]
    aisle = people.shop.aisle[people.shop.category[first[0]]]
    for item in first[:3]:
        people.observe(np.array([item, item]))
    following, count = people._following()
    assert count[:, aisle].tolist() == [1, 1]
    assert following[0, aisle, 0] == first[3]
    people.observe(np.array([people.shop.staples[0], first[3]]))  # a staple leaves the thread where it was
    following, _ = people._following()
    assert following[:, aisle, 0].tolist() == [first[3], first[4]]
    assert people.distribution()[0].argmax() in (first[3], people.shop.staples[0])


def test_the_place_of_an_item():
    chances = np.array([[0.2, 0.5, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25]])
    greater, ties = place_of(np.array([2, 0]), chances)
    assert (greater.tolist(), ties.tolist()) == ([1, 0], [1, 3])


def test_places_come_from_the_items_before(simulation):
    """Replays one person's events through the rule."""
    config = SimulationConfig(n_users=600, shop=ShopConfig(n_items=500))
    person = People(config, simulation.shop, 1)
    for position in range(simulation.offsets[7], simulation.offsets[8]):
        chances = person.distribution()[0]
        item = simulation.items[position].astype(np.int64)
        equal = np.isclose(chances, chances[item], rtol=1e-9, atol=0)
        assert simulation.greater[position] == ((chances > chances[item]) & ~equal).sum()
        assert simulation.ties[position] == equal.sum() - 1
        person.observe(item[None])


def test_nobody_beats_the_oracle(simulation):
    protocol = Protocol.named("hstu", exclude_seen=False)
    dataset = simulation.dataset(protocol)
    parts = split(dataset)
    greater, ties = simulation.greater[parts.test], simulation.ties[parts.test]
    oracle = {"HR@10": hit_rate(greater, ties, 10).mean(), "NDCG@10": ndcg(greater, ties, 10).mean()}
    baselines = (Popularity, PopularityConfig()), (Markov, MarkovConfig()), (ItemKNN, ItemKNNConfig())
    for model, config in baselines:
        options = {"protocol": protocol, "train_ends": parts.train_ends, "confidence": False}
        figures = evaluate(model.fit(config, dataset, parts), dataset, parts.test, **options).metrics
        assert all(figures[name] < 0.6 * best for name, best in oracle.items())


def test_the_same_seed_gives_the_same_events(simulation):
    config = SimulationConfig(n_users=50, shop=SMALL)
    first, again, other = simulate(config, seed=1), simulate(config, seed=1), simulate(config, seed=2)
    assert first.events().equals(again.events())
    assert first.item_table().equals(again.item_table())
    assert not first.events().equals(other.events())


def test_a_shop_of_odd_size():
    shop = simulate(SimulationConfig(n_users=5, shop=ShopConfig(n_items=97, categories=5)), seed=0).shop
    assert shop.series.shape[1] == 9  # the smallest category
    assert len(set(shop.titles)) == 97
    with pytest.raises(InputError, match="more items"):
        ShopConfig(n_items=50)
    with pytest.raises(InputError, match="categories"):
        ShopConfig(categories=13)


def test_it_looks_like_a_shop(simulation):
    events, lengths = simulation.events().to_pandas(), np.diff(simulation.offsets)
    assert 5 <= lengths.min() <= lengths.max() <= 400
    assert 0.1 < events.duplicated(["user", "item"]).mean() < 0.5
    counts = np.sort(np.bincount(simulation.items, minlength=500))[::-1]
    assert 0.35 < counts[:100].sum() / counts.sum() < 0.8  # a fifth of the items
    titles = simulation.item_table().to_pandas()
    assert titles.title.is_unique
    assert titles.category.nunique() == 25


def test_the_clock(simulation):
    events = simulation.events().to_pandas()
    gaps = events.groupby("user").time.diff()
    assert (gaps.dropna() > 0).all()
    inside = gaps[~simulation.new_session]
    between = gaps[simulation.new_session].dropna()
    assert inside.median() < 200
    assert between.median() > 86400
    hours = (events.time // 3600) % 24
    days = (events.time // 86400 + 3) % 7  # Monday is 0
    assert (hours == 20).mean() > 4 * (hours == 3).mean()
    assert (days >= 5).mean() > 1.2 * 2 / 7
    assert simulation.new_session[simulation.offsets[:-1]].all()


def test_many_short_sessions_keep_their_order():
    offsets = np.array([0, 300, 300, 301])
    times = event_times(np.ones(301, bool), offsets, np.random.default_rng(0))
    assert (np.diff(times[:300]) > 0).all()


def test_the_data_set_has_titles(simulation):
    dataset = simulation.dataset()
    assert dataset.item_table.column_names == ["item", "events", "title", "category"]
    assert dataset.n_items == 500
    assert (dataset.items == simulation.items).all()
