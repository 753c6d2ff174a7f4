"""What a training costs: counted by hand, and against the operations that torch itself counts."""

import numpy as np
import pytest
import torch
from support import cyclic
from torch.utils.flop_counter import FlopCounterMode

from hydrarec.losses.config import LossConfig
from hydrarec.models.sasrec import SASRec, SASRecConfig
from hydrarec.progress import Silent
from hydrarec.train.checkpoint import Position
from hydrarec.train.flops import Work, flops
from hydrarec.train.settings import resolve
from hydrarec.train.summary import summary
from hydrarec.train.train import train

DATA = cyclic(users=24, length=9)
COUNTS = np.full(6, 36)


def test_by_hand():
    model = SASRec(SASRecConfig(d_model=8, max_len=10), 6)
    work = Work.of(model, DATA, COUNTS, None, None)
    layers = sum(p.numel() for p in model.encoder.parameters())
    assert work.event == 6 * (layers + 8 * 6)
    assert (work.step, work.token_forward, work.token_backward) == (0, 0, 0)
    found = flops(work, Position(events=100, step=7), model)
    assert found["flops"] == 100 * work.event
    assert found["trainable_parameters"] == found["stored_parameters"] == layers + 48
    model.items.weight.requires_grad_(False)
    assert flops(work, Position(), model)["trainable_parameters"] == layers


def test_what_does_not_learn_costs_no_gradient_of_its_weights():
    model = SASRec(SASRecConfig(d_model=8, max_len=10), 6)
    layers, scores = sum(p.numel() for p in model.encoder.parameters()), 8 * 6
    model.items.weight.requires_grad_(False)
    assert Work.of(model, DATA, COUNTS, None, None).event == 6 * layers + 4 * scores
    model.encoder.requires_grad_(False)
    assert Work.of(model, DATA, COUNTS, None, None).event == 4 * (layers + scores)


@pytest.mark.parametrize("kind", ["sampled", "gbce"])
def test_a_loss_that_draws_scores_what_it_draws(kind):
    model, counts = SASRec(SASRecConfig(d_model=8, max_len=10), 6), np.array([10, 0, 0, 0, 0, 30])
    whole, softmax, few = (
        Work.of(model, DATA, counts, np.array([0, 0, 0, 0, 1, 1]), None, loss)
        for loss in (None, LossConfig(), LossConfig(kind=kind, negatives=1))
    )
    assert softmax == whole
    assert whole.event - few.event == 6 * 8 * (2.5 - 2)


def test_candidates_are_those_of_the_targets_own_set():
    model = SASRec(SASRecConfig(d_model=8, max_len=10), 6)
    whole = Work.of(model, DATA, COUNTS, np.zeros(6, int), None)
    assert whole == Work.of(model, DATA, COUNTS, None, None)
    halves = Work.of(model, DATA, COUNTS, np.array([0, 0, 0, 1, 1, 1]), None)
    assert whole.event - halves.event == 6 * 8 * 3
    uneven = Work.of(model, DATA, np.array([10, 0, 0, 0, 0, 30]), np.array([0, 0, 0, 0, 1, 1]), None)
    assert whole.event - uneven.event == 6 * 8 * (6 - 2.5)


def test_torch_counts_about_as_much():
    """Linear maps alone are alike; torch adds attention, which is little in short histories of a wide model."""
    model = SASRec(SASRecConfig(d_model=64, max_len=10, dropout=0.0), 500)
    x = torch.randn(2, 8, 64)
    with FlopCounterMode(display=False) as counter:
        hidden = model.encoder(x)
        (hidden.flatten(0, 1) @ model.items.weight.T).logsumexp(1).sum().backward()
    counted = counter.get_total_flops() / 16
    work = Work.of(model, cyclic(n_items=500, users=500), np.ones(500), None, None)
    assert 0.8 < work.event / counted < 1.25


def test_a_run_tells_its_cost(tmp_path):
    settings, _ = resolve(
        overrides=["model.d_model=8", "model.n_layers=1", "model.n_heads=2", "train.epochs=2"], seed=1
    )
    run = train(DATA, tmp_path, settings, DATA.protocol, progress=Silent())
    cost = summary(run)["cost"]
    assert cost["seconds"] == run.metrics["seconds"]
    assert cost["peak_memory_bytes"] == run.metrics["peak_memory_bytes"]
    assert cost["tokens_forward"] == cost["tokens_backward"] == 0
    assert cost["flops"] > 0
    assert cost["trainable_parameters"] == sum(run.metrics["parameters"].values())
