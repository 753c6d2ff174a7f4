import pytest

from hydrarec.data.protocol import Protocol
from hydrarec.errors import InputError
from hydrarec.train.settings import Settings, choose_protocol, resolve

RECIPE = """
[model]
d_model = 32
n_heads = 2

[loss]
kind = "sampled"
negatives = 7

[train]
lr = 1e-2
epochs = 9

[protocol]
split = "loo"
cutoffs = [3]
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    return path


def test_defaults():
    settings, protocol = resolve()
    assert settings.name == "hydra"
    assert (settings.model.d_model, settings.train.epochs, settings.loss.kind) == (64, 50, "softmax")
    assert protocol == {}


def test_a_table_of_positions_is_as_long_as_the_training_window():
    assert resolve(model="sasrec")[0].model.max_len == 200
    assert resolve(model="sasrec", overrides=["train.max_len=50"])[0].model.max_len == 50
    assert resolve(model="sasrec", overrides=["train.max_len=50", "model.max_len=80"])[0].model.max_len == 80
    assert resolve(model="markov")[0].train.max_len == 200


def test_recipe_then_set_then_seed(recipe):
    settings, protocol = resolve(recipe=recipe, overrides=["train.lr=0.5", "d_model=16", "train.seed=5"])
    assert (settings.train.lr, settings.train.epochs, settings.train.seed) == (0.5, 9, 5)
    assert (settings.model.d_model, settings.model.n_heads) == (16, 2)
    assert (settings.loss.kind, settings.loss.negatives) == ("sampled", 7)
    assert protocol == {"split": "loo", "cutoffs": [3]}
    assert resolve(recipe=recipe, overrides=["protocol.cutoffs=[5, 6]", "exclude_seen=true"])[1] == {
        "split": "loo", "cutoffs": [5, 6], "exclude_seen": True,
    }  # fmt: skip
    assert resolve(recipe=recipe, overrides=["train.seed=5"], seed=6)[0].train.seed == 6


@pytest.mark.parametrize("section", ["model", "loss", "train", "items", "start", "protocol"])
def test_a_recipe_may_have_every_section_and_no_other(tmp_path, section):
    path = tmp_path / "recipe.toml"
    path.write_text(f"[{section}]")
    assert resolve(recipe=path) == resolve()
    path.write_text(f"[{section}s]")
    with pytest.raises(InputError, match=f"unknown entry '{section}s'; did you mean '{section}'"):
        resolve(recipe=path)


def test_another_model_leaves_the_recipes_model_behind(recipe):
    settings, _ = resolve(recipe=recipe, model="itemknn", overrides=["train.max_len=50"])
    assert (settings.name, settings.train.max_len, settings.train.lr) == ("itemknn", 50, 0.01)
    assert resolve(recipe=recipe, model="hydra")[0].model.d_model == 32
    assert resolve(overrides=['model.name="markov"'])[0].name == "markov"


def test_there_and_back(recipe):
    settings, _ = resolve(recipe=recipe, overrides=["train.betas=[0.8, 0.9]"])
    assert Settings.from_dict(settings.to_dict(), "here") == settings
    for name in ("popularity", "recent", "markov", "itemknn"):
        settings, _ = resolve(model=name)
        assert Settings.from_dict(settings.to_dict(), "here") == settings


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"overrides": ["train.epoch=3"]}, "'epochs'"),
        ({"overrides": ["model.d_modle=3"]}, "'d_model'"),
        ({"overrides": ["dropuot=0.1"]}, "'dropout'"),
        ({"overrides": ["trian.lr=3"]}, "trian"),
        ({"overrides": ["loss.kind=hinge"]}, "must be one of 'softmax'"),
        ({"overrides": ["train.epochs=many"]}, "must be a whole number"),
        ({"overrides": ["train.epochs=0"]}, "epochs"),
        ({"overrides": ["model.n_heads=7"]}, "must divide"),
        ({"model": "hydar"}, "'hydra'"),
        ({"model": "markov", "overrides": ["model.d_model=8"]}, "d_model"),
        ({"seed": -1}, "seed must not be negative"),
        ({"model": "recent", "overrides": ["half_life_days=-3"]}, "half_life_days must not be negative"),
        ({"model": "markov", "overrides": ["model.smoothing=-1"]}, "smoothing must not be negative"),
        ({"model": "itemknn", "overrides": ["neighbours=0"]}, "neighbours must be at least 1"),
        ({"model": "itemknn", "overrides": ["decay=-2"]}, "decay must lie in"),
        ({"model": "itemknn", "overrides": ["k1=-1"]}, "k1 must not be negative"),
        (
            {"overrides": ["items.storage=sharded", "loss.kind=sampled", "train.recompute=64"]},
            r"train\.recompute and items\.storage=sharded do not go together: all processes must read",
        ),
    ],
)
def test_what_does_not_fit_is_named(arguments, message):
    with pytest.raises(InputError, match=message):
        resolve(**arguments)


def test_an_unknown_section_of_a_recipe(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text("[trian]\nlr = 1\n")
    with pytest.raises(InputError, match=r"trian.*'train'"):
        resolve(recipe=path)


def test_the_data_sets_protocol_is_the_default():
    stored = Protocol.named("time", quantile=0.8, target="every")
    assert choose_protocol(stored, None, {}) == stored
    changed = choose_protocol(stored, None, {"quantile": 0.5})
    assert (changed.split, changed.quantile, changed.target, changed.candidates) == ("time", 0.5, "every", "train")


def test_another_split_has_its_usual_fields_and_the_same_split_keeps_them():
    stored = Protocol.named("time", quantile=0.8)
    assert choose_protocol(stored, "hstu", {}) == Protocol.named("hstu")
    assert choose_protocol(stored, "time", {"target": "next"}) == Protocol.named("time", quantile=0.8, target="next")
    assert choose_protocol(stored, None, {"split": "loo", "cutoffs": [3]}) == Protocol.named("loo", cutoffs=(3,))
    assert choose_protocol(stored, "hstu", {"split": "loo"}).split == "hstu"  # the command line before the recipe
    with pytest.raises(InputError, match="quantile"):
        choose_protocol(stored, None, {"quantil": 0.5})
