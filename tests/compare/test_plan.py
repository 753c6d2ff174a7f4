"""Which runs there are, in which order, and which settings they take."""

import json

import pytest
from comparisons import HEAD, HYDRA, MARKOV, OTHERS, REMOVED, SMALL, made_record

from hydrarec.compare.plan import Slot
from hydrarec.errors import InputError

ALL = HEAD + HYDRA + SMALL + MARKOV
TRIALS = ["shop-loo/tuning/hydra-1", "shop-loo/tuning/hydra-2"]


def by_name(plan):
    return {slot.name: slot for slot in plan.slots()}


def test_trials_come_first_and_counting_models_run_once(plan_of):
    names = [slot.name for slot in plan_of(ALL).slots()]
    own = ["hydra-1", "small-1", "markov-1", "hydra-2", "small-2"]
    assert names == TRIALS + [f"shop-loo/{name}" for name in own] + [f"shop-hstu/{name}" for name in own]


def test_a_part_brings_the_trials_that_it_needs(plan_of):
    names = [slot.name for slot in plan_of(ALL, labels=("hydra",), tables=("shop-hstu",)).slots()]
    assert names == [*TRIALS, "shop-hstu/hydra-1", "shop-hstu/hydra-2"]


def test_the_best_trial_gives_the_settings_of_all_seeds_also_without_validation(plan_of):
    plan = plan_of(ALL)
    slots = by_name(plan)
    assert plan.job(slots["shop-loo/hydra-1"]) is None
    made_record(plan, slots[TRIALS[0]], None, validation=0.25)
    assert plan.job(slots["shop-loo/hydra-2"]) is None
    made_record(plan, slots[TRIALS[1]], None, validation=0.3)
    drawn = plan.job(slots[TRIALS[1]])
    for table in ("shop-loo", "shop-hstu"):
        for seed in (1, 2):
            job = plan.job(slots[f"{table}/hydra-{seed}"])
            assert job.settings.train.lr == drawn.settings.train.lr
            assert job.settings.train.epochs == 2
            assert job.settings.train.seed == seed
    assert plan.job(slots["shop-loo/hydra-1"]).folder == drawn.folder  # trained already
    assert plan.job(slots["shop-hstu/hydra-1"]).folder == plan.places.runs / "shop-hstu" / "hydra-1"
    assert plan.job(slots["shop-loo/hydra-2"]).folder == plan.places.runs / "shop-loo" / "hydra-2"


def test_one_table_chooses_for_other_data_too(plan_of):
    other = '[[data]]\nname = "other"\nsource = "events.csv"\nprotocols = ["time"]\n'
    plan = plan_of('chosen_on = "shop-loo"\n' + HEAD + HYDRA + other)
    slots = by_name(plan)
    assert {name for name in slots if "tuning" in name} == set(TRIALS)
    for name, validation in zip(TRIALS, (0.1, 0.2), strict=True):
        made_record(plan, slots[name], None, validation=validation)
    job = plan.job(slots["other-time/hydra-1"])
    assert job.point == plan.job(slots[TRIALS[1]]).point
    assert job.folder == plan.places.runs / "other-time" / "hydra-1"


def test_the_first_of_equal_trials(plan_of):
    plan = plan_of(ALL)
    slots = by_name(plan)
    jobs = [plan.job(slots[name]) for name in TRIALS]
    for name in TRIALS:
        made_record(plan, slots[name], None, validation=0.25)
    assert plan.job(slots["shop-loo/hydra-1"]).point == jobs[0].point != jobs[1].point


def test_a_trial_that_failed_is_not_waited_for(plan_of):
    plan = plan_of(ALL)
    slots = by_name(plan)
    made_record(plan, slots[TRIALS[0]], None)
    assert plan.job(slots["shop-loo/hydra-1"], given_up={TRIALS[1]}).point == plan.job(slots[TRIALS[0]]).point
    assert plan.job(slots["shop-loo/hydra-1"]) is None


def test_a_grid_needs_a_validation(plan_of):
    plan = plan_of((HEAD + HYDRA).replace('["loo", "hstu"]', '["hstu"]'))
    with pytest.raises(InputError, match="hydra has a grid and shop-hstu no validation to choose by; give data shop"):
        plan.slots()
    assert plan_of((HEAD + SMALL).replace('["loo", "hstu"]', '["hstu"]')).slots()


def test_hstu_with_epochs_of_its_own_still_takes_what_loo_chose(plan_of):
    own = '[[data]]\nname = "shop"\nsource = "events.csv"\nprotocols = ["hstu"]\ntrain = {epochs = 7}\n'
    plan = plan_of(HEAD.replace('["loo", "hstu"]', '["loo"]') + HYDRA + own)
    slots = by_name(plan)
    assert set(TRIALS) < set(slots)
    for name, validation in zip(TRIALS, (0.1, 0.2), strict=True):
        made_record(plan, slots[name], None, validation=validation)
    job = plan.job(slots["shop-hstu/hydra-1"])
    assert job.settings.train.epochs == 7
    assert job.point == plan.job(slots[TRIALS[1]]).point


def test_a_result_of_other_settings_is_not_taken_for_this_ones(plan_of):
    plan = plan_of(ALL)
    slot = by_name(plan)["shop-loo/small-1"]
    made_record(plan, slot, [1.0])
    assert plan.finished(slot)["seed"] == 1
    later = plan_of(ALL.replace("epochs = 2", "epochs = 3"))
    with pytest.raises(InputError, match=r"small-1\.json was made with other settings \(train\.epochs was 2, now 3\)"):
        later.finished(by_name(later)["shop-loo/small-1"])
    other = plan_of(ALL.replace("[train]", "protocol.exclude_seen = true\n[train]"))
    with pytest.raises(InputError, match=r"protocol\.exclude_seen was False, now True"):
        other.finished(by_name(other)["shop-loo/small-1"])


def test_a_result_from_before_a_setting_existed_counts_with_its_default(plan_of):
    plan = plan_of(ALL)
    slot = by_name(plan)["shop-loo/small-1"]
    found = made_record(plan, slot, [1.0])
    del found["recipe"]["train"]["recompute"]
    plan.file(slot).write_text(json.dumps(found))
    assert plan.finished(slot) is not None
    found["recipe"]["train"]["unheard_of"] = 1
    plan.file(slot).write_text(json.dumps(found))
    with pytest.raises(InputError, match="unheard_of"):
        plan.finished(slot)


def test_a_result_from_before_there_were_domains_counts_where_they_are_ranked_apart(plan_of):
    plan = plan_of(ALL)
    slot = by_name(plan)["shop-loo/small-1"]
    found = made_record(plan, slot, [1.0])
    del found["protocol_fields"]["domains"]
    plan.file(slot).write_text(json.dumps(found))
    assert plan.finished(slot) is not None
    together = plan_of(ALL.replace("[train]", 'protocol.domains = "all"\n[train]'))
    with pytest.raises(InputError, match=r"protocol\.domains was own, now all"):
        together.finished(by_name(together)["shop-loo/small-1"])
    found["protocol_fields"]["unheard_of"] = 1
    plan.file(slot).write_text(json.dumps(found))
    with pytest.raises(InputError, match="unheard_of"):
        plan.finished(slot)


def test_a_damaged_result_names_the_remedy(plan_of):
    plan = plan_of(ALL)
    slot = by_name(plan)["shop-loo/small-1"]
    made_record(plan, slot, [1.0])
    plan.file(slot).write_text("{")
    with pytest.raises(InputError, match="delete it to run again"):
        plan.finished(slot)


@pytest.mark.parametrize(("row", "label"), [(OTHERS, "others"), (REMOVED, "gated")])
def test_what_is_not_run_here_is_there_when_its_file_is(plan_of, row, label):
    plan = plan_of(HEAD + MARKOV + row)
    assert f"shop-loo/{label}-2" not in by_name(plan)
    slot = Slot(table=plan.tables()[0], model=plan.models(plan.tables()[0])[1], seed=2)
    made_record(plan, slot, [0.5, 0.0], recipe={"their": "own"})
    assert [name for name in by_name(plan) if label in name] == [f"shop-loo/{label}-2"]
    assert plan.finished(slot)["recipe"] == {"their": "own"}
    protocol = {**slot.table.protocol.to_dict(), "exclude_seen": True}
    made_record(plan, slot, [0.5, 0.0], protocol_fields=protocol)
    with pytest.raises(InputError, match=rf"{label}-2.json was made .*\(protocol.exclude_seen was True, now False\)"):
        plan.finished(slot)


def test_a_row_that_skips_a_table(plan_of):
    plan = plan_of(ALL.replace('label = "small"', 'label = "small"\nskip = ["shop-hstu"]'))
    names = [name for name in by_name(plan) if "small" in name]
    assert names == ["shop-loo/small-1", "shop-loo/small-2"]
    with pytest.raises(InputError, match="model small: skip has an unknown name 'shop-hst'; did you mean 'shop-hstu'"):
        plan_of(ALL.replace('label = "small"', 'label = "small"\nskip = ["shop-hst"]'))
