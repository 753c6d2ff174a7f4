"""The paired test and its numbers: known answers, and the right rate of false alarms."""

from itertools import product

import numpy as np
import pytest

from hydrarec.compare.significance import paired_p
from hydrarec.compare.values import pack, unpack
from hydrarec.errors import InputError


def test_identical_models():
    values = np.random.default_rng(0).random(50)
    assert paired_p(values, values, np.arange(50)) == 1.0


def test_a_clear_difference():
    generator = np.random.default_rng(0)
    values = generator.random(400)
    p = paired_p(values + 0.1 + 0.05 * generator.standard_normal(400), values, np.arange(400))
    assert p == 1 / 10_001


def test_all_sign_flips_of_a_few_users():
    differences = np.array([0.3, 0.1, 0.25, -0.2, 0.15, 0.4, -0.05, 0.1])
    sums = np.array([differences @ signs for signs in product((-1, 1), repeat=8)])
    exact = (np.abs(sums) >= differences.sum() - 1e-12).mean()
    p = paired_p(differences, np.zeros(8), np.arange(8), permutations=200_000)
    assert p == pytest.approx(exact, abs=0.004)


def test_the_side_does_not_matter_and_neither_do_users_without_a_difference():
    generator = np.random.default_rng(1)
    one, other = generator.random(60), generator.random(60)
    p = paired_p(one, other, np.arange(60))
    assert paired_p(other, one, np.arange(60)) == pytest.approx(p, abs=0.01)
    more = np.ones(1000)
    assert paired_p(np.append(one, more), np.append(other, more), np.arange(1060)) == p


def test_queries_of_a_user_are_flipped_together():
    users = np.repeat(np.arange(4), 100)
    one = np.repeat([0.2, 0.1, 0.2, 0.1], 100)
    assert paired_p(one, np.zeros(400), users) == pytest.approx(2 / 16, abs=0.02)  # four users can say no more
    assert paired_p(one, np.zeros(400), np.arange(400)) < 0.001


@pytest.mark.parametrize("heavy", [False, True])
def test_under_the_null_it_cries_wolf_as_often_as_it_says(heavy):
    generator = np.random.default_rng(3)
    alarms = []
    for _ in range(600):
        one, other = generator.random((2, 40))
        if heavy:  # mostly zeros, as NDCG is
            one, other = one * (one > 0.8), other * (other > 0.8)
        alarms.append(paired_p(one, other, np.arange(40), permutations=400) <= 0.1)
    assert np.mean(alarms) == pytest.approx(0.1, abs=0.04)  # three standard errors


def test_values_survive_as_text_and_take_little():
    values = np.zeros(6040)
    values[::5] = 1 / np.log2(np.arange(1208) % 10 + 2)
    text = pack(values, "f4")
    assert np.allclose(unpack(text, "f4", "x"), values, atol=1e-7)
    assert len(text) < 2000
    assert unpack(pack(np.arange(5), "i4"), "i4", "x").tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("text", ["?", "AAAA", None])
def test_damaged_values_are_named(text):
    with pytest.raises(InputError, match="ndcg10 of a is damaged"):
        unpack(text, "f4", "ndcg10 of a")
