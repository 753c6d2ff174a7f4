"""What every neural model must do, whatever it is: checks that the tests of single models share."""

from dataclasses import replace

import torch
from support import close, offsets_of

from hydrarec.data.batch import REQUEST_TIMES, Batch
from hydrarec.models.registry import model_classes
from hydrarec.train.config import TrainConfig
from hydrarec.train.optimiser import adamw

N_ITEMS = 13
LENGTHS = [7, 0, 1, 12, 3, 7]


def timed_batch(lengths=LENGTHS, seed=0) -> Batch:
    """Random events; each hidden state is asked at the time of the event after it, the last ones some time later."""
    generator = torch.Generator().manual_seed(seed)
    offsets = offsets_of(lengths)
    total = int(offsets[-1])
    times = 10**9 + torch.randint(0, 10**6, (total + 1,), generator=generator).cumsum(0)
    return Batch(
        items=torch.randint(0, N_ITEMS, (total,), generator=generator),
        times=times[:-1],
        offsets=offsets,
        columns={REQUEST_TIMES: times[1:]},
    )


def made(name, seed=0, **changes):
    """A small model of that name in evaluation, with parameters large enough that each of them is felt."""
    config_class, model_class = model_classes(name)
    torch.manual_seed(seed)
    model = model_class(config_class(**{"d_model": 8, **changes}), N_ITEMS).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return model


def part(batch, chosen: slice, offsets) -> Batch:
    columns = {name: column[chosen] for name, column in batch.columns.items()}
    return Batch(items=batch.items[chosen], times=batch.times[chosen], offsets=torch.tensor(offsets), columns=columns)


def check_each_history_is_alone(model) -> None:
    batch = timed_batch()
    together = model.encode(batch)
    assert together.shape == (int(batch.offsets[-1]), model.config.d_model)
    for first, end in zip(batch.offsets.tolist(), batch.offsets[1:].tolist(), strict=False):
        if end > first:
            alone = model.encode(part(batch, slice(first, end), [0, end - first]))
            close(together[first:end], alone, 1e-5)


def check_causal(model) -> None:
    """Later events, their times and when they are asked change no earlier hidden state, and change all later ones."""
    batch, other = timed_batch([9]), timed_batch([9], seed=1)
    items, times, asked = batch.items.clone(), batch.times.clone(), batch.request_times.clone()
    items[5:], times[5:], asked[5:] = (batch.items[5:] + 1) % N_ITEMS, other.times[5:], other.request_times[5:]
    changed = replace(batch, items=items, times=times, columns={REQUEST_TIMES: asked})
    before, after = model.encode(batch), model.encode(changed)
    close(after[:5], before[:5], 1e-5)
    assert (after[5:] - before[5:]).abs().amax(1).min() > 1e-3


def check_no_event_at_all(model) -> None:
    assert model.encode(timed_batch([0, 0])).shape == (0, model.config.d_model)


def check_there_and_back(model) -> None:
    tensors = {name: value.clone() for name, value in model.tensors().items()}
    again = type(model).from_tensors(model.config, N_ITEMS, tensors)
    assert not again.training
    batch = timed_batch([4, 2])
    with torch.inference_mode():
        found, expected = next(again.score(batch))[1], next(model.score(batch))[1]
    assert found.shape == (2, N_ITEMS)
    assert torch.equal(found, expected)


def check_learns(model) -> None:
    """Every parameter has a gradient, and steps along them lower the loss."""
    batch = timed_batch()
    targets = torch.randint(0, N_ITEMS, batch.items.shape, generator=torch.Generator().manual_seed(3))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(30):
        logits = model.queries(model.encode(batch)) @ model.catalog().T * model.scale
        loss = torch.nn.functional.cross_entropy(logits, targets)
        losses.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name
        optimiser.step()
    assert losses[-1] < losses[0] - 0.5, losses


def decayed(model) -> set[str]:
    """Names of the parameters that weight decay shrinks."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[parameter] for parameter in adamw(model, TrainConfig()).param_groups[0]["params"]}


def follows_request_time(model) -> bool:
    """Whether hidden states change with the moment at which they are asked."""
    batch = timed_batch()
    later = replace(batch, columns={REQUEST_TIMES: batch.request_times + 10**7})
    return bool((model.encode(later) - model.encode(batch)).abs().max() > 1e-4)
