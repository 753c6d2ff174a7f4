"""Bar 1: pairs, users with few events, and when it is reached."""

import joint
import numpy as np
import pyarrow as pa
import pytest
from targets import Targets

from hydrarec.compare.significance import paired_p


def asked(users, items, events):
    domains = np.array([item.partition(":")[0] for item in items])
    return Targets(
        users=pa.array(users), items=pa.array(items), domains=domains, events=np.array(events), fingerprint="f"
    )


ALONE = asked(["ann", "bob", "cy", "dee"], ["beauty:1", "beauty:2", "beauty:3", "beauty:4"], [5, 9, 3, 6])
# Cy was last seen in another shop, dee with another item; the order is another one.
TOGETHER = asked(["bob", "cy", "dee", "ann"], ["beauty:2", "toys:7", "beauty:5", "beauty:1"], [9, 8, 7, 6])
SINGLE = {"id": np.array([0.1, 0.2, 0.9, 0.9]), "text": np.array([0.3, 0.4, 0.9, 0.9])}
BOTH = {"id": np.array([0.5, 0.0, 0.0, 0.6]), "text": np.array([0.7, 0.0, 0.0, 0.8])}


def test_only_pairs_count_and_few_is_of_the_shop_alone():
    few, every = joint.paired(ALONE, SINGLE, TOGETHER, BOTH)
    assert (few["group"], few["targets"], few["of"]) == ("few", 1, 4)
    sides = ("id_alone", "text_alone", "id_joint", "text_joint")
    assert [few[side] for side in sides] == pytest.approx([0.1, 0.3, 0.6, 0.8])  # ann
    assert every["targets"] == 2
    assert [every[side] for side in sides] == pytest.approx([0.15, 0.35, 0.55, 0.75])  # and bob
    assert every["change"] == pytest.approx(4.0)


def test_p_is_that_of_the_pairs():
    rng = np.random.default_rng(0)
    users = [f"u{i}" for i in range(300)]
    own = asked(users, ["beauty:1"] * 300, [5] * 300)
    order = rng.permutation(300)
    mixed = asked([users[i] for i in order], ["beauty:1"] * 300, [5] * 300)
    base = rng.random(300)
    ours = base + 0.05 + 0.02 * rng.standard_normal(300)  # better for each; unpaired, little can be seen
    row = joint.paired(own, {"id": base}, mixed, {"text": ours[order]})[1]
    assert row["p"] == paired_p(ours, base, np.arange(300)) < 0.001
    assert joint.paired(own, {"id": base}, mixed, {"text": ours})[1]["p"] > 0.01  # were they not put in order


def test_what_is_missing_is_left_out():
    row = joint.paired(ALONE, {"id": SINGLE["id"]}, TOGETHER, {})[1]
    assert row["id_alone"] == pytest.approx(0.15)
    assert not {"p", "change", "text_joint"} & set(row)
    assert joint.reached([row], "all") is None


@pytest.mark.parametrize(
    ("ours", "p", "few", "every"), [(0.3, 0.01, True, True), (0.3, 0.2, False, True), (0.1, 0.01, False, False)]
)
def test_when_it_is_reached(ours, p, few, every):
    good = {"id_alone": 0.2, "text_joint": 0.4, "p": 0.001}
    rows = [{"group": group, **row} for group in ("few", "all") for row in (good, {**good, "text_joint": ours, "p": p})]
    assert joint.reached(rows, "few") is few
    assert joint.reached(rows, "all") is every


def test_screens_are_80_columns(capsys):
    rows = [
        {"shops": "four", "shop": "clothing", **row, "targets": 38_000}
        for row in joint.paired(ALONE, SINGLE, TOGETHER, BOTH)
    ]
    change = joint.validation(
        [{"metrics": {"NDCG@10": x}, "groups": {"domain toys": {"NDCG@10": x}, "item head": {}}} for x in (0.1, 0.2)]
    )
    assert change["mean"] == change["toys"] == pytest.approx(0.15)
    joint.show(rows, [{"label": "x", "title": "vectors not centred", **change}], {"few": True, "all": None})
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "four, clothing" in shown
    assert "+400.0%" in shown
    assert "…" not in shown
