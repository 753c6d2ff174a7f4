"""What people read: the terminal, the Markdown file and the plots."""

import re
import sys
from xml.etree import ElementTree

import pytest
from comparisons import HEAD, HYDRA, MARKOV, OTHERS, REMOVED, SMALL, made_record

from hydrarec.cli import main
from hydrarec.compare import plots
from hydrarec.compare.assemble import assemble
from hydrarec.compare.markdown import section
from hydrarec.compare.plan import Slot
from hydrarec.compare.show import p_value, print_tables

PUBLISHED = "published.shop-loo = 0.4\n"
TEXT = (HEAD + HYDRA + SMALL + PUBLISHED + MARKOV).replace('label = "small"', 'label = "rather-a-long-label"')


@pytest.fixture
def plan(plan_of):
    """A finished table ``shop-loo``, and ``shop-hstu`` without its second seeds."""
    plan = plan_of(TEXT)
    for slot in plan.slots():
        if slot.trial:
            made_record(plan, slot, None, validation=0.1 * slot.trial)
        elif slot.table.name == "shop-loo" or slot.seed == 1:
            better = {"hydra": 3, "markov": 1}.get(slot.model.label, 2)
            values = [1.0] * 10 * better + [0.0] * (60 - 10 * better - slot.seed)
            values += [0.0] * (60 - len(values))
            changes = {"sees_request_time": True} if better == 3 else {}
            validation = 0.1 * better if slot.table.validates else None
            made_record(plan, slot, values, validation=validation, seconds=12_345.6, **changes)
    return plan


def test_the_terminal_has_80_columns_and_nothing_is_cut(plan, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    print_tables(assemble(plan))
    out = capsys.readouterr().out
    assert max(len(line.rstrip()) for line in out.splitlines()) <= 80
    assert "…" not in out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "shop-loo: loo, target last; ranks all items" in lines
    assert "6,040 users, 3,416 items, 999,611 events; 60 test targets; data ffffffffffffffff" in lines
    accuracy = r"hydra\* \.5000 \.5000 \.0000 \.\d{4}-\.\d{4} \+50\.0% (\.\d{3}|<\.001)"
    assert any(re.fullmatch(accuracy, line) for line in lines)
    assert "hydra* 93,648 640 9,876 8,642 123,456 512" in lines
    assert "rival: rather-a-long-label, the best on validation of what is not ours" in lines
    assert "*: sees the time of the request" in lines
    assert "missing: 2 runs, such as shop-hstu/hydra-2" in lines


def test_help_fits_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["compare", "--help"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_rows_that_are_not_run_here_say_so_and_are_never_missing(plan_of, tmp_path):
    plan = plan_of(HEAD + MARKOV + OTHERS + REMOVED)
    slots = [Slot(table=plan.tables()[0], model=model, seed=1) for model in plan.models(plan.tables()[0])]
    for slot, better in zip(slots, (1, 2, 3), strict=True):
        made_record(plan, slot, [1.0] * better + [0.0] * (9 - better))
    (table,) = [each for each in assemble(plan) if each.rows]
    shown = section(table, tmp_path / "spec.toml", [])
    assert "| Hydra of others ‡ |" in shown
    assert "‡ trained by another program" in shown
    assert "| Hydra with gates § |" in shown
    assert "§ measured before its setting was removed." in shown
    assert not re.search("markov [‡§]", shown)
    assert "Not run yet" not in shown


def test_results_of_a_model_as_it_was_are_shown_until_one_of_today_is_there(plan_of, tmp_path, capsys):
    plan = plan_of(HEAD.replace(', "hstu"', "") + SMALL.replace("on.shop-hstu", "on.shop") + MARKOV)
    first, markov, second = plan.slots()
    made_record(plan, markov, [1.0] * 3 + [0.0] * 6)
    for slot in (first, second):
        made_record(plan, slot, [1.0] * 2 + [0.0] * 7, form=1)
        assert plan.finished(slot) is None  # to be run again
    (table,) = assemble(plan)
    shown = section(table, tmp_path / "spec.toml", [])
    assert "| small ¶ | .2222 ± .0000 |" in shown
    assert "¶ measured before the model was changed, and to be run again." in shown
    assert "Not run yet" not in shown
    print_tables([table])
    assert "~: measured before the model was changed" in capsys.readouterr().out

    made_record(plan, second, [1.0] * 4 + [0.0] * 5)
    assert plan.finished(second) is not None
    (table,) = assemble(plan)
    best = table.rows[0]
    assert (best.label, best.seeds, best.former) == ("small", [2], False)
    assert table.missing == ["shop-loo/small-1"]
    assert "¶" not in section(table, tmp_path / "spec.toml", [])


def test_settings_that_another_table_chose(plan_of, tmp_path):
    plan = plan_of('chosen_on = "shop-loo"\n' + HEAD.replace('"hstu"]', '"time"]') + MARKOV)
    for table in plan.tables():
        made_record(plan, Slot(table=table, model=plan.models(table)[0], seed=1), [1.0] * 9)
    loo, time = (section(table, tmp_path / "spec.toml", []) for table in assemble(plan))
    assert "Settings are those chosen on shop-loo, weights those of the best validation here." in time
    assert "There is no validation" not in time
    assert "ettings are those chosen on" not in loo


def test_trials_that_are_gone_are_missing(plan_of, tmp_path):
    plan = plan_of(HEAD + HYDRA)
    table = plan.tables()[0]
    model = plan.models(table)[0]
    for slot in plan.trials(table, model):
        made_record(plan, slot, None, validation=0.1)
    for seed in (1, 2):
        made_record(plan, Slot(table=table, model=model, seed=seed), [1.0] * 9)
    assert "Not run yet" not in section(assemble(plan)[0], tmp_path / "spec.toml", [])
    plan.file(next(iter(plan.trials(table, model)))).unlink()
    assert "Not run yet, by seed: hydra (trial) 1." in section(assemble(plan)[0], tmp_path / "spec.toml", [])


@pytest.mark.parametrize(("p", "shown"), [(1.0, "1.000"), (0.0421, ".042"), (0.0009, "<.001")])
def test_p_values(p, shown):
    assert p_value(p) == shown


def test_the_report(plan, here, capsys):
    assert main(["compare", "spec.toml", "--show", "--report", "docs/results.md"]) == 0
    text = (here / "docs" / "results.md").read_text()
    assert text.startswith(
        "# Results\n\n<!-- Generated by `hydrarec compare spec.toml --show --report docs/results.md`"
    )
    assert re.findall(r"^#+ .*", text, re.MULTILINE) == ["# Results", "## shop-loo", "## shop-hstu"]
    loo, hstu = text.split("## ")[1:]
    accuracies, costs, times, parameters = (block.splitlines() for block in re.findall(r"(?:^\|.*\n)+", loo, re.M))
    for head, *lines in (accuracies, costs, times, parameters):
        assert all(line.count("|") == head.count("|") for line in lines)
    rows = accuracies[2:]
    assert [row.split(" | ")[0] for row in rows] == [
        "| **Hydra, order only** †",
        "| rather-a-long-label",
        "| markov",
    ]
    figures = r"\| \.5000 ± \.0000 \| \.\d{4} to \.\d{4} "
    assert re.search(rf"{figures}{figures}\| \+50\.0 % \| (\.\d{{3}}|<\.001) \|  \| 1, 2 \|", rows[0])
    assert [rows[2].split(" | ")[place] for place in (1, 3)] == [".1667", ".1667"]  # one seed, no spread
    assert " | .4000 (-16.7 %) | " in rows[1]
    assert costs[2].endswith("† | 93,648 | 640 | 9,876 | 8,642 | 900 | 123,456 | 512 |")
    assert parameters[2:] == ["| rather-a-long-label | 93,648 | none |  |"]  # ours sees more
    assert (
        "Protocol: loo, target last; ranks all items. 6,040 users, 3,416 items, 999,611 events; 60 test targets" in loo
    )
    assert "data `ffffffffffffffff`" in loo
    assert "| time to quality of | Hydra, order only |\n|---|---|\n| rather-a-long-label | 0.00 |\n\n" in loo
    assert "Rival: rather-a-long-label, chosen on validation." in loo
    assert re.search(r"Chosen on validation: hydra `train\.lr=0\.0\d+`\.", loo)
    assert "† sees the time of the request." in loo
    assert "Machine: AMD EPYC, 2 cores, 1 thread a run, torch 2.13.0. Code: 0123456789." in loo
    assert "```console\nhydrarec compare spec.toml --table shop-loo\n```" in loo
    assert "![accuracy against training seconds](results/shop-loo-seconds.svg)" in loo
    assert "![accuracy against parameters](results/shop-loo-parameters.svg)" in loo
    assert "settings are those chosen on shop-loo, training takes all of its epochs" in hstu
    assert "Not run yet, by seed: hydra 2; rather-a-long-label 2." in hstu
    for name in re.findall(r"\]\((.*\.svg)\)", text):
        assert ElementTree.parse(here / "docs" / name).getroot().tag.endswith("svg")


def test_the_same_results_give_the_same_bytes_whatever_was_asked_for(plan, here, capsys):
    def written(*arguments):
        assert main(["compare", "spec.toml", "--show", "--report", "docs/results.md", *arguments]) == 0
        return {path.name: path.read_bytes() for path in here.glob("docs/**/*.*")}

    first = written()
    assert len(first) == 5
    assert written("--only", "markov", "--table", "shop-loo") == first


def test_seconds_of_several_machines_say_whose_they_are(plan, here, capsys):
    away = {"machine": {"processor": "Xeon", "cores": 4, "threads": 1, "torch": "2.13.0"}}
    first = next(slot for slot in plan.slots() if slot.name == "shop-loo/rather-a-long-label-1")
    made_record(plan, first, [1.0] * 20 + [0.0] * 40, **away)
    assert main(["compare", "spec.toml", "--show", "--report", "docs/results.md"]) == 0
    loo, hstu = (here / "docs" / "results.md").read_text().split("## ")[1:]
    assert [line.split(" | ")[-1] for line in loo.splitlines() if "640 |" in line] == ["1 |", "1, 2 |", "1 |"]
    one, two = "AMD EPYC, 2 cores, 1 thread a run, torch 2.13.0", "Xeon, 4 cores, 1 thread a run, torch 2.13.0"
    assert f"Machines: 1: {one}; 2: {two}. Code:" in loo
    assert f"Machine: {one}. Code:" in hstu
    assert f"1: {one}\n2: {two}\n" in capsys.readouterr().out
    (axes,) = plots.against_seconds(assemble(plan)[0]).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["hydra [1]", "rather-a-long-label [1, 2]"]


def test_curves_where_there_is_validation_and_points_where_not(plan):
    loo, hstu = assemble(plan)
    (axes,) = plots.against_seconds(loo).axes
    assert axes.get_ylabel() == "NDCG@10, validation"
    curves = [
        list(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2 and line.get_linestyle() == "-"
    ]
    assert curves == [[4.0, 9.0], [4.0, 9.0]]  # CPU seconds
    (axes,) = plots.against_seconds(hstu).axes
    assert axes.get_ylabel() == "NDCG@10, test"
    (axes,) = plots.against_parameters(loo).axes
    assert axes.get_xscale() == "log"
    assert sorted(text.get_text() for text in axes.get_legend().get_texts()) == ["hydra", "rather-a-long-label"]
    assert [text.get_text() for text in axes.texts] == ["markov"]  # a level


@pytest.mark.parametrize(("other", "sides"), [(0.201, ["top", "bottom"]), (0.3, ["bottom", "bottom"])])
def test_names_of_levels_that_lie_close_stand_on_either_side(plan_of, other, sides):
    plan = plan_of(HEAD + HYDRA + MARKOV + MARKOV.replace("markov", "popularity"))
    table = plan.tables()[0]
    for trial in plan.trials(table, plan.models(table)[0]):
        made_record(plan, trial, None)
    for model, validation in zip(plan.models(table), (0.4, 0.2, other), strict=True):
        made_record(plan, Slot(table=table, model=model, seed=1), [1.0] * 9, validation=validation)
    (axes,) = plots.against_seconds(assemble(plan)[0]).axes
    assert [text.get_text() for text in axes.texts] == ["markov", "popularity"]
    assert [text.get_va() for text in axes.texts] == sides


def test_without_matplotlib_nothing_is_run(plan, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["compare", "spec.toml", "--report", "docs/results.md"]) == 2
    assert "leave out --report" in capsys.readouterr().err
