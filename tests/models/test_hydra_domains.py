"""The vector of an item's domain: in every way an event is read, and in what is saved."""

from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import close, small_config

from hydrarec.data.batch import pack
from hydrarec.data.store import Dataset
from hydrarec.items.domains import DomainTable
from hydrarec.models.hydra import Hydra, HydraConfig
from hydrarec.models.sasrec import SASRec, SASRecConfig
from hydrarec.nn.step import fits

N_ITEMS = 11
DOMAINS = torch.arange(N_ITEMS, dtype=torch.int16) % 3
BATCH = pack([[1, 2, 3], [10], [5, 5, 0, 7]])


def make(domains=DOMAINS, *, drawn=True, **changes):
    """A small model; ``drawn``: domains matter as much as items do."""
    torch.manual_seed(3)
    plain = {key: getattr(small_config(), key) for key in ("d_model", "n_layers", "n_heads", "d_state")}
    model = Hydra(HydraConfig(**{**plain, **changes}), N_ITEMS, domains).eval()
    with torch.no_grad():
        if drawn and model.domains is not None:
            model.domains.weight.normal_()
            model.items.weight.normal_()
    return model


def shop(**columns):
    return Dataset.from_arrays(np.arange(N_ITEMS), np.array([0, 5, N_ITEMS]), item_columns=columns)


def test_a_vector_of_the_domain_is_added_to_that_of_the_item():
    model = make()
    with torch.no_grad():
        plain = make(None)
        plain.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("domains.")})
        scaled = plain.items.weight.clone()
        plain.items.weight += model.domains.weight[DOMAINS.long()]
        close(model.encode(BATCH), plain.encode(BATCH), 1e-6)
        plain.items.weight.copy_(scaled)
        assert (model.encode(BATCH) - plain.encode(BATCH)).abs().max() > 0.1
        assert torch.equal(model.catalog(), plain.catalog())  # what is recommended is told by items alone


def test_at_the_start_it_changes_nothing_and_then_it_learns():
    model, plain = make(drawn=False), make(None)
    assert torch.equal(model.encode(BATCH), plain.encode(BATCH))
    model.encode(BATCH).square().mean().backward()
    assert model.domains.weight.grad.abs().sum(1).min() > 0


@given(
    histories=st.lists(st.lists(st.integers(0, N_ITEMS - 1), min_size=1, max_size=9), min_size=1, max_size=4),
    seed=st.integers(0, 999),
)
@settings(max_examples=40)
@torch.no_grad()
def test_whole_in_pieces_and_step_by_step(histories, seed):
    model, random = make(), Random(seed)
    batch = pack(histories)
    whole = model.encode(batch)[batch.last]
    state, left = model.initial_state(len(histories)), [list(each) for each in histories]
    while any(left):
        sizes = [random.randint(0, 3) for _ in left]
        _, state = model.resume(pack([each[:n] for each, n in zip(left, sizes, strict=True)]), state)
        left = [each[n:] for each, n in zip(left, sizes, strict=True)]
    close(state.hidden, whole, 1e-4)
    for user, each in enumerate(histories):
        state = model.initial_state(1)
        for item in each:
            hidden = model.step_(pack([[item]]), state)
        close(hidden, whole[user : user + 1], 1e-4)


@torch.no_grad()
def test_the_compiled_step_knows_domains_too():
    model = make()
    if not fits(model.config, model.encoder.norm.weight):
        pytest.skip("no compiled kernels")
    state = model.initial_state(1)
    first = model.step_(pack([[4]]), state).clone()
    assert model.encoder._stepper is not None
    close(first, model.encode(pack([[4]])), 1e-5)
    model.domains.weight.mul_(-1)
    assert (model.step_(pack([[4]]), model.initial_state(1)) - first).abs().max() > 0.01
    close(model.step_(pack([[4]]), model.initial_state(1)), model.encode(pack([[4]])), 1e-5)


def test_tensors_there_and_back():
    model = make()
    tensors = {name: value.clone() for name, value in model.tensors().items()}
    assert tensors["domains.item_domains"].tolist() == DOMAINS.tolist()
    again = Hydra.from_tensors(model.config, N_ITEMS, tensors)
    assert not again.training
    assert torch.equal(again.encode(BATCH), model.encode(BATCH))
    del tensors["domains.weight"]
    with pytest.raises(RuntimeError, match=r"domains\.weight"):
        Hydra.from_tensors(model.config, N_ITEMS, tensors)


def test_a_model_of_a_data_set_has_vectors_where_that_has_domains():
    domains = ["toys", "beauty"] * 5 + ["toys"]
    config = make().config
    model = Hydra.for_data(config, shop(domain=domains))
    assert model.domains.item_domains.tolist() == [1, 0] * 5 + [1]
    assert model.domains.weight.shape == (2, 8)
    plain = Hydra.for_data(config, shop())
    assert plain.domains is None
    assert not any("domain" in name for name in plain.tensors())
    counts, more = plain.parameter_counts(), model.parameter_counts()
    assert more == {"items": counts["items"], "encoder": counts["encoder"] + 2 * 8}
    without = make(domain_embedding=False)
    assert set(without.tensors()) == set(plain.tensors())
    assert set(Hydra.from_tensors(without.config, N_ITEMS, without.tensors()).tensors()) == set(plain.tensors())
    rival = SASRec.for_data(SASRecConfig(d_model=8), shop(domain=domains))
    assert not any("domain" in name for name in rival.tensors())


def test_a_table_of_domains():
    table = DomainTable(torch.tensor([2, 0, 2]), 4)
    assert table.weight.shape == (3, 4)
    assert not table.weight.any()
    with torch.no_grad():
        table.weight += torch.arange(3)[:, None]
    assert table.encode(torch.tensor([[0, 1], [2, 2]]))[..., 0].tolist() == [[2, 0], [2, 2]]
    assert table.double().item_domains.dtype == torch.int16
