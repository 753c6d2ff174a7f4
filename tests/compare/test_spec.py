"""What a comparison's file may say, and how it is refused."""

import re
from pathlib import Path

import pytest
from comparisons import HEAD, HYDRA, MARKOV, REMOVED, SMALL

from hydrarec.compare.choices import counts, points, settings_of
from hydrarec.compare.spec import read_spec
from hydrarec.errors import InputError

ROOT = Path(__file__).parents[2]


def read(here, text):
    (here / "spec.toml").write_text(text)
    return read_spec(here / "spec.toml")


def test_tables_are_data_sets_under_protocols(here):
    spec = read(here, HEAD + HYDRA + '[[data]]\nname = "other"\nsource = "x"\nprotocol.quantile = 0.8\n')
    assert [table.name for table in spec.tables()] == ["shop-loo", "shop-hstu", "other-time"]
    loo, hstu, time = spec.tables()
    assert (loo.protocol.exclude_seen, hstu.protocol.exclude_seen, time.protocol.quantile) == (False, True, 0.8)
    assert [table.validates for table in (loo, hstu, time)] == [True, False, True]
    assert [spec.chooser(table).name for table in (loo, hstu, time)] == ["shop-loo", "shop-loo", "other-time"]
    spec = read(here, 'chosen_on = "shop-loo"\n' + HEAD + HYDRA + '[[data]]\nname = "other"\nsource = "x"\n')
    assert {spec.chooser(table).name for table in spec.tables()} == {"shop-loo"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seedz = [1]" + HEAD + MARKOV, "comparison has no setting 'seedz'; did you mean 'seeds'?"),
        (HEAD + MARKOV + "lable = 1", "comparison.model[0] has no setting 'lable'; did you mean 'label'?"),
        (HEAD + MARKOV.replace('"markov"\nname', '"../x"\nname'), "model.label is '../x'; it names files"),
        (HEAD + MARKOV + MARKOV, "model label 'markov' stands there twice"),
        (HEAD, "comparison.model is missing"),
        (HEAD.replace("[1, 2]", "[]") + MARKOV, "seeds must not be empty"),
        (HEAD.replace("[1, 2]", "[2, 2]") + MARKOV, "seed 2 stands there twice"),
        (HEAD.replace("trials = 2", "trials = 0") + MARKOV, "trials is 0; it must be at least 1"),
        (HEAD.replace('"hstu"]', '"htsu"]') + MARKOV, "comparison.data[0].protocols[1] is 'htsu'"),
        (HEAD.replace('"hstu"]', '"loo"]') + MARKOV, "table 'shop-loo' stands there twice"),
        (HEAD.replace("[train]", "columns.itm = 'x'\n[train]") + MARKOV, "have no 'itm'; did you mean 'item'?"),
        (HEAD.replace("[train]", "protocol.quantil = 1\n[train]") + MARKOV, "did you mean 'quantile'?"),
        (HEAD + MARKOV + 'on.shp = ["a.b=1"]', "on has an unknown name 'shp'; did you mean 'shop'?"),
        (
            HEAD + MARKOV + "published.shop-lo = 0.1",
            "published has an unknown name 'shop-lo'; did you",
        ),
        (HEAD + MARKOV + "published.shop = 0.1", "published has an unknown name 'shop'; did you mean 'shop-loo'?"),
        (HEAD.replace("[train]", "protocol.cutoffs = [5, 20]\n[train]") + MARKOV, "protocol.cutoffs must have 10"),
        (HEAD + MARKOV + "published.shop-loo = 12", "published.shop-loo is 12; it must be an NDCG@10, in (0, 1)"),
        (HEAD + MARKOV + 'on.shop = "a.b=1"', "must be a list of section.key=value"),
        (HEAD + MARKOV + 'grid."train.lr" = 1e-3', "grid.train.lr is 0.001; it must be a list of values"),
        (HEAD + REMOVED + 'set = ["model.gates=true"]', "model gated is removed: its settings are gone"),
        ("chosen_on = 'shop-lo'\n" + HEAD + MARKOV, "unknown table 'shop-lo'; did you mean 'shop-loo'?"),
        ("seeds = [", "cannot be read"),
    ],
)
def test_bad_files_are_refused(here, text, message):
    with pytest.raises(InputError, match=r"spec\.toml") as error:
        read(here, text)
    assert message in str(error.value)


def test_a_missing_file(here):
    with pytest.raises(InputError, match=r"none\.toml does not exist"):
        read_spec(here / "none.toml")


def test_settings_are_recipe_then_the_rule_then_the_models_own_then_the_point(here):
    (here / "shop.toml").write_text(
        '[protocol]\nsplit = "time"\n[model]\nname = "hydra"\nd_model = 16\ndropout = 0.4\n'
        "[train]\nepochs = 9\nlr = 0.5\n"
    )
    text = (
        HEAD
        + '[[model]]\nlabel = "a"\nrecipe = "{data}.toml"\nset = ["model.n_heads=1"]\non.shop = ["model.n_layers=1"]\n'
    )
    spec = read(here, text + 'on.shop-hstu = ["model.n_layers=3"]\n')
    loo, hstu = spec.tables()
    settings = settings_of(spec, loo, spec.model[0], ("train.lr=0.25",), 7)
    model, train = settings.model, settings.train
    assert (model.d_model, model.dropout, model.n_heads, model.n_layers) == (16, 0.4, 1, 1)
    assert (train.epochs, train.patience, train.lr, train.seed) == (2, 1, 0.25, 7)
    assert settings_of(spec, hstu, spec.model[0], (), 7).model.n_layers == 3


@pytest.mark.parametrize("own", ['set = ["train.patience=9"]', 'set = ["patience=9"]', 'on.shop = ["train.epochs=9"]'])
def test_no_model_leaves_the_rule_for_all(here, own):
    spec = read(here, HEAD + f'[[model]]\nlabel = "a"\nname = "hydra"\n{own}\n')
    with pytest.raises(InputError, match=r"model a sets .*, which \[train\] gives for all"):
        settings_of(spec, spec.tables()[0], spec.model[0], (), 1)


def test_the_loss_has_a_rule_for_all(here):
    head = HEAD.replace("[train]", '[loss]\nprecision = "bfloat16"\n[train]')
    spec = read(here, head + SMALL)
    assert settings_of(spec, spec.tables()[0], spec.model[0], (), 1).loss.precision == "bfloat16"
    spec = read(here, head + '[[model]]\nlabel = "a"\nname = "hydra"\nset = ["loss.precision=\\"float32\\""]\n')
    with pytest.raises(InputError, match=r"model a sets loss.precision, which \[loss\] gives for all"):
        settings_of(spec, spec.tables()[0], spec.model[0], (), 1)


def test_data_may_have_a_rule_of_its_own(here):
    spec = read(here, HEAD.replace("[train]", "train = {epochs = 5}\n[train]") + SMALL)
    settings = settings_of(spec, spec.tables()[0], spec.model[0], (), 1)
    assert (settings.train.epochs, settings.train.patience) == (5, 1)


def test_a_wrong_setting_names_model_and_table(here):
    spec = read(here, HEAD + '[[model]]\nlabel = "a"\nname = "hydra"\nset = ["model.dropuot=1"]\n')
    with pytest.raises(InputError, match=r"model a on shop-loo: .*did you mean 'dropout'"):
        settings_of(spec, spec.tables()[0], spec.model[0], (), 1)


def test_the_budget_is_the_same_for_all(here):
    many = SMALL + '[model.grid]\n"train.lr" = [1e-3, 2e-3, 4e-3]\n"model.dropout" = [0.0, 0.2]\n'
    spec = read(here, HEAD.replace("trials = 2", "trials = 4") + HYDRA + many + MARKOV)
    hydra, small, markov = spec.model
    assert points(spec, hydra) == [("train.lr=0.001",), ("train.lr=0.01",), ("train.lr=0.03",)]  # fewer: all of them
    drawn = points(spec, small)
    assert len(drawn) == len(set(drawn)) == 4
    assert drawn == points(spec, small)
    assert all(key.startswith("train.lr=") and other.startswith("model.dropout=") for key, other in drawn)
    assert points(spec, markov) == [()]


def test_models_that_count_are_known(here):
    spec = read(here, HEAD + HYDRA + MARKOV)
    assert [counts(spec, spec.tables()[0], model) for model in spec.model] == [False, True]


def test_the_example_of_the_manual(here, monkeypatch):
    text = re.search(r"```toml\n(.*?)```", (ROOT / "docs" / "compare.md").read_text(), re.DOTALL).group(1)
    spec = read(here, re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE))  # with all that is optional
    assert [table.name for table in spec.tables()] == ["ml-1m-loo", "ml-1m-time", "ml-1m-hstu"]
    (here / "recipes").mkdir()
    (here / "recipes" / "ml-1m-hydra.toml").write_text("[model]\nn_layers = 3\n")
    hydra = spec.model[0]
    settings = settings_of(spec, spec.tables()[0], hydra, points(spec, hydra)[0], 1)
    assert (settings.model.d_model, settings.model.n_layers, settings.train.epochs) == (64, 3, 30)
    assert len(points(spec, hydra)) == 4


@pytest.mark.parametrize("file", sorted((ROOT / "benchmarks" / "tables").glob("*.toml")), ids=lambda file: file.stem)
def test_the_settings_of_every_table_exist(file, monkeypatch):
    monkeypatch.chdir(ROOT)
    spec = read_spec(file)
    for table in spec.tables():
        for model in spec.model:
            for point in points(spec, model):
                settings_of(spec, table, model, point, 1)


def test_a_comparison_on_validation_needs_one(here):
    (here / "spec.toml").write_text('part = "valid"\n' + HEAD + MARKOV)
    with pytest.raises(InputError, match="part is valid, and protocol hstu of shop-hstu has no validation"):
        read_spec(here / "spec.toml")
