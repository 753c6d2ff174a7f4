"""A language model that learns along: gradients against those of the plain way, in float32 and to 1e-5."""

import numpy as np
import pytest
import torch
from language_models import MINILM, TITLES, needs_llm, needs_minilm
from support import close

from hydrarec.errors import InputError
from hydrarec.items.config import TuningConfig
from hydrarec.items.text.backbone import Backbone
from hydrarec.items.text.config import TextConfig
from hydrarec.items.text.items import TextItems
from hydrarec.items.text.store import TextStore
from hydrarec.items.text.trainable import make_trainable, put
from hydrarec.items.text.tuning import Tuning, by_name

pytestmark = needs_llm

TEXTS = [*TITLES, None, "Tea"]  # one item without text, and two that share theirs
V, D = len(TEXTS), 4
HAS_TEXT = torch.tensor([text is not None for text in TEXTS])
STEP = torch.tensor([4, 0, 4, 8, 9, 2, 0])  # items of a batch, events and targets


class Setup:
    def __init__(self, folder, tmp_path, pooling="item", **tuning):
        config = TextConfig(model=str(folder), pooling=pooling)
        torch.manual_seed(0)
        self.backbone = Backbone.load(config)
        self.store = TextStore(tmp_path, self.backbone.tokenizer)
        self.rows = self.store.add(TEXTS)
        self.items = TextItems(V, self.backbone.width, D)
        with torch.no_grad():
            self.items.fill(self.of(range(V)), HAS_TEXT, None, center=True)
        self.tuning = Tuning(self.items, self.backbone, self.store, self.rows, TuningConfig(**tuning))
        shake(self.items.learned)

    def of(self, items):
        """Vectors of the items with text among these, each read alone."""
        found = []
        for item in items:
            if self.rows[item] >= 0:
                tokens, offsets = map(torch.from_numpy, self.store.tokens(self.rows[[item]]))
                found.append(self.backbone.encode(tokens, offsets))
        return torch.cat(found)

    def naive(self, rows):
        """Vectors (n, h) of events' items, each event's text read, whether or not it was there before."""
        found = self.items.means[torch.zeros(len(rows), dtype=torch.long)].clone()
        there = HAS_TEXT[rows]
        found[there] = self.of(rows.tolist())
        return self.centred(found)

    def centred(self, vectors):
        return (vectors - self.items.means[0]) * self.items.scale

    def mapped(self, vectors):
        return vectors @ self.items.project.weight.T

    def gradients(self):
        found = {name: parameter.grad for name, parameter in self.items.named_parameters()}
        self.items.zero_grad()
        return {name: gradient.clone() for name, gradient in found.items() if gradient is not None}


def shake(parameters):
    """Adapters start as nothing; here they do something."""
    with torch.no_grad():
        for parameter in parameters.values():
            parameter += 0.05 * torch.randn_like(parameter)


def weigh(vectors):
    """A loss that weighs every number differently."""
    return (vectors.tanh() * torch.linspace(-1, 1, vectors.numel()).view_as(vectors)).sum()


def same(got, expected):
    assert got.keys() == expected.keys()
    for name, gradient in expected.items():
        close(got[name], gradient, 1e-5)


@pytest.mark.parametrize("pooling", ["item", "mean"])
@pytest.mark.parametrize("changes", [{"mode": "lora"}, {"mode": "full"}, {"mode": "lora", "layers": 1}])
@pytest.mark.parametrize("tokens", [16_384, 20])  # at once, and in parts
def test_a_step_has_the_gradients_of_reading_every_event(llama, tmp_path, pooling, changes, tokens):
    given = Setup(llama, tmp_path, pooling, tokens=tokens, **changes)
    weigh(given.mapped(given.naive(STEP))).backward()
    expected = given.gradients()
    for step in range(2):  # the second finds lower layers kept
        given.tuning.before(STEP)
        weigh(given.items.encode(STEP)).backward()
        given.tuning.after(step)
        same(given.gradients(), expected)


@needs_minilm
@pytest.mark.parametrize("layers", [0, 2])
def test_minilm_too(tmp_path, layers):
    given = Setup(MINILM, tmp_path, mode="lora", layers=layers)
    weigh(given.mapped(given.naive(STEP))).backward()
    expected = given.gradients()
    given.tuning.before(STEP)
    weigh(given.items.encode(STEP)).backward()
    given.tuning.after(0)
    same(given.gradients(), expected)


def test_the_catalog_sees_the_same_live_vectors_and_others_as_they_were(llama, tmp_path):
    given = Setup(llama, tmp_path, mode="lora")
    before = given.items.catalog().detach()
    given.tuning.before(STEP)
    live = given.items.catalog()
    untouched = [item for item in range(V) if item not in (0, 2, 4, 9)]
    close(live[untouched], before[untouched], 1e-6)
    close(live[STEP], given.mapped(given.naive(STEP)), 1e-5)
    weigh(live).backward()
    given.tuning.after(0)
    found = given.gradients()
    vectors = given.items.vectors.clone()
    vectors[[0, 2, 4, 9]] = given.naive(torch.tensor([0, 2, 4, 9]))
    weigh(given.mapped(vectors)).backward()
    same(found, given.gradients())


def test_gathered_gradients_are_those_of_the_whole_catalog(llama, tmp_path):
    given = Setup(llama, tmp_path, mode="cached", every=2, tokens=20)
    given.tuning.refresh()
    vectors = given.naive(torch.arange(V))
    ((weigh(given.mapped(vectors)) + given.mapped(vectors).square().sum()) / 2).backward()
    expected = given.gradients()
    for step, loss in enumerate([weigh, lambda found: found.square().sum()]):
        given.tuning.before(STEP)
        loss(given.items.catalog()).backward()
        given.tuning.after(step)
    found = given.gradients()
    assert given.items.gathered.abs().max() == 0
    expected["project.weight"] = expected["project.weight"] * 2  # of the two steps, not of their mean
    same(found, expected)


def test_between_updates_nothing_is_read(llama, tmp_path):
    given = Setup(llama, tmp_path, mode="cached", every=3)
    for step in range(2):
        given.tuning.before(STEP)
        weigh(given.items.catalog()).backward()
        given.tuning.after(step)
    assert given.tuning.tokens_forward == 0
    assert all(parameter.grad is None for parameter in given.items.learned.values())
    assert given.items.gathered.abs().max() > 0


def test_a_budget_of_items(llama, tmp_path):
    given = Setup(llama, tmp_path, mode="partial", budget=2)
    given.tuning.before(torch.arange(V))
    changed = (given.items.live - given.items.vectors).abs().amax(1) > 1e-4
    assert 1 <= int(changed.sum()) <= 3  # two texts, of which one may be that of two items
    assert given.items.live.requires_grad


def test_tokens_are_counted(llama, tmp_path):
    given = Setup(llama, tmp_path, mode="lora")
    lengths = {item: given.store.tokens(given.rows[[item]])[1][-1] for item in (0, 2, 4)}
    given.tuning.before(STEP)
    weigh(given.items.encode(STEP)).backward()
    given.tuning.after(0)
    assert given.tuning.tokens_forward == given.tuning.tokens_backward == sum(lengths.values())
    given = Setup(llama, tmp_path, mode="lora", tokens=1)
    given.tuning.before(STEP)
    weigh(given.items.encode(STEP)).backward()
    given.tuning.after(0)
    assert given.tuning.tokens_forward == 2 * sum(lengths.values())
    assert given.tuning.tokens_backward == sum(lengths.values())


@pytest.mark.parametrize("changes", [{"mode": "lora"}, {"mode": "cached"}, {"mode": "lora", "layers": 1}])
def test_refreshed_vectors_are_those_of_the_model_as_it_is(llama, tmp_path, changes):
    given = Setup(llama, tmp_path, tokens=30, **changes)
    for _ in range(2):
        shake(given.items.learned)
        given.tuning.refresh()
        with torch.no_grad():
            close(given.items.vectors[HAS_TEXT], given.centred(given.of(range(V))), 1e-5)
    assert not given.items.vectors[~HAS_TEXT].any()


def test_what_was_learned_goes_into_a_fresh_model(llama, tmp_path):
    given = Setup(llama, tmp_path, mode="lora")
    fresh = Backbone.load(TextConfig(model=str(llama)))
    put(make_trainable(fresh, adapters=8, layers=0), by_name(given.items.learned))
    tokens, offsets = map(torch.from_numpy, given.store.tokens(given.rows[:4]))
    with torch.no_grad():
        close(fresh.encode(tokens, offsets), given.of(range(4)), 1e-6)
    other = make_trainable(Backbone.load(TextConfig(model=str(llama))), adapters=8, layers=1)
    with pytest.raises(InputError, match="bring the same model"):
        put(other, by_name(given.items.learned))


def test_only_adapters_and_the_row_of_item_learn_and_with_upper_layers_only_theirs(llama):
    def learned(**settings):
        return make_trainable(Backbone.load(TextConfig(model=str(llama))), **settings)

    assert all("lora" in name or "trainable_tokens" in name for name in learned(adapters=4, layers=0))
    assert any("trainable_tokens" in name for name in learned(adapters=4, layers=0))
    assert all("lora" in name and "layers.1." in name for name in learned(adapters=4, layers=1))
    assert all("layers.1." in name for name in learned(adapters=0, layers=1))
    assert sum(map(np.prod, (parameter.shape for parameter in learned(adapters=0, layers=0).values()))) > 1e4
    with pytest.raises(InputError, match=r"items\.tuning\.layers is 3; the language model has 2"):
        learned(adapters=4, layers=3)


def test_lower_layers_are_counted_apart(llama, tmp_path):
    whole = Setup(llama, tmp_path / "whole", mode="full").tuning
    upper = Setup(llama, tmp_path / "upper", mode="full", layers=1).tuning
    assert upper.parameters["learning"] < whole.parameters["learning"]
    assert whole.parameters["lower"] == 0 < upper.parameters["lower"]
    assert upper.parameters["read"] + upper.parameters["lower"] == whole.parameters["read"]
    lengths = {text: len(upper._texts.tokens(upper._texts.lookup([text]))[0]) for text in TEXTS if text}
    assert upper.tokens_of_all == sum(lengths.values())
