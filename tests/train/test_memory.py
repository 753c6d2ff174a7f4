"""Windows begin from what the window before them left, whatever the order they come in."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import close, dataset_of, ragged

from hydrarec.data.stretches import stretch_batch
from hydrarec.data.windows import EpochBatches, windows
from hydrarec.models.hydra import Hydra, HydraConfig
from hydrarec.train.memory import Memory

ITEMS = 9


def make():
    torch.manual_seed(0)
    return Hydra(HydraConfig(d_model=8, n_layers=2, n_heads=2, d_state=4, dropout=0.0), ITEMS).eval()


def shop(lengths):
    return dataset_of([[(user + t * t) % ITEMS for t in range(length)] for user, length in enumerate(lengths)])


@given(lengths=ragged(30, users=6), max_len=st.integers(1, 8), batch_events=st.integers(1, 40))
@settings(max_examples=40)
@torch.no_grad()
def test_after_enough_epochs_every_window_begins_from_its_whole_past(lengths, max_len, batch_events):
    data = shop([max(2, length) for length in lengths])
    source = windows(data, data.offsets[1:], max_len, "carried")
    model = make()
    memory = Memory(model, source)
    for epoch in range(1 + -(-max(lengths) // max_len)):
        batches = EpochBatches(data, source, batch_events, 0, epoch)
        for index, batch in enumerate(batches.start_at(0)):
            chosen = batches.part(index).everyone
            memory.keep(chosen, model.resume(batch, memory.before(chosen))[1])
    starts = data.offsets[np.searchsorted(data.offsets, source.first, side="right") - 1]
    for window, (first, start) in enumerate(zip(source.first, starts, strict=True)):
        begin = memory.before(np.array([window]))
        assert begin.position.tolist() == [first - start]
        if first > start:
            _, expected = model.resume(stretch_batch(data, np.array([start]), np.array([first])), None)
            for name, value in expected.tensors().items():
                close(begin.tensors()[name], value, 1e-5)


def test_a_first_window_begins_from_nothing_and_leaves_no_slot():
    data = shop([3, 2, 9])
    source = windows(data, data.offsets[1:], 4, "carried")
    model = make()
    memory = Memory(model, source)
    assert len(source.first) == 4
    assert len(memory.states) == 1  # of the second window of the third user
    everything = memory.before(np.arange(4))
    for name, value in model.initial_state(4).tensors().items():
        assert torch.equal(everything.tensors()[name], value)


def test_it_goes_on_with_states_that_were_saved():
    data = shop([9, 9])
    source = windows(data, data.offsets[1:], 4, "carried")
    model = make()
    memory = Memory(model, source)
    batches = EpochBatches(data, source, 100, 0, 0)
    batch = next(batches.start_at(0))
    memory.keep(batches.part(0).everyone, model.resume(batch, None)[1])
    again = Memory(model, source, memory.states.clone())
    for name, value in memory.before(np.arange(4)).tensors().items():
        assert not value.requires_grad
        assert torch.equal(again.before(np.arange(4)).tensors()[name], value)
    assert again.before(np.arange(4)).position.tolist() == [0, 4, 0, 4]
