import contract_checks as checks
import pytest
import torch
from support import close

from hydrarec.errors import InputError
from hydrarec.models.registry import model_classes
from hydrarec.models.sasrec import SASRec, SASRecConfig
from hydrarec.train.settings import resolve


def test_registry():
    assert model_classes("sasrec") == (SASRecConfig, SASRec)


@pytest.mark.parametrize("changes", [{}, {"ffn": 2.0, "n_heads": 2}])
def test_it_keeps_the_contract(changes):
    model = checks.made("sasrec", **changes)
    checks.check_each_history_is_alone(model)
    checks.check_causal(model)
    checks.check_no_event_at_all(model)
    checks.check_there_and_back(model)
    checks.check_learns(checks.made("sasrec", max_len=12, **changes))


def test_item_vectors_are_scaled_before_positions_are_added():
    model = checks.made("sasrec")
    seen = []
    model.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    batch = checks.timed_batch([5])
    model.encode(batch)
    close(seen[0][0], model.items.weight[batch.items] * 8**0.5, 1e-6)


def test_parameter_count():
    d, length = 50, 200
    attention = 2 * d + 3 * (d * d + d) + d * d + d  # norm; Q, K, V; output
    feed_forward = 2 * d + 2 * (d * d + d)  # norm; two maps
    model = SASRec(SASRecConfig(d_model=d), 7)
    expected = length * d + 2 * (attention + feed_forward) + 2 * d
    assert model.parameter_counts() == {"items": 7 * d, "encoder": expected}
    assert expected == 41_100


def test_weight_decay_spares_positions_norms_and_biases():
    names = checks.decayed(checks.made("sasrec"))
    assert {name.split(".", 3)[-1] for name in names} == {
        "qkv.weight", "w_o.weight", "ffn.part.up.weight", "ffn.part.down.weight",
    }  # fmt: skip


def test_positions_cover_the_training_window():
    assert resolve(model="sasrec")[0].model.max_len == 200
    assert resolve(model="sasrec", overrides=["train.max_len=50"])[0].model.max_len == 50
    assert resolve(model="sasrec", overrides=["train.max_len=50", "model.max_len=60"])[0].model.max_len == 60
    assert resolve(model="sasrec", overrides=["train.max_len=0", "model.max_len=60"])[0].model.max_len == 60
    with pytest.raises(InputError, match=r"give model\.max_len, the events of the longest history"):
        resolve(model="sasrec", overrides=["train.max_len=0"])


def test_longer_histories_are_refused():
    model = checks.made("sasrec", max_len=4)
    model.encode(checks.timed_batch([4, 3]))
    with pytest.raises(InputError, match="5 events, but max_len=4"):
        model.encode(checks.timed_batch([4, 5]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"n_heads": 7}, "n_heads=7 must divide d_model=64"),
        ({"dropout": 1.0}, "dropout must lie"),
        ({"max_len": 0}, "max_len must be at least 1"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        SASRecConfig(**changes)


def test_scores_are_cosines_over_the_temperature_unless_said_otherwise():
    batch = checks.timed_batch([3, 5])
    for normalize in (True, False):
        model = checks.made("sasrec", normalize=normalize, temperature=0.1)
        with torch.inference_mode():
            (_, scores), hidden = next(model.score(batch)), model.encode(batch)[batch.last]
            plain = hidden @ model.items.weight.T
            cosines = torch.cosine_similarity(hidden[:, None], model.items.weight[None], dim=2)
        close(scores, cosines / 0.1 if normalize else plain, 1e-5)
