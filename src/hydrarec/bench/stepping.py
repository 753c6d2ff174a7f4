"""One event at a time: how long a user's state takes to take it in."""

import torch

from hydrarec.bench.contenders import histories
from hydrarec.bench.measure import Variant, interleave
from hydrarec.bench.rows import Measured, Subject, rows
from hydrarec.bench.scale import Scale
from hydrarec.nn.config import EncoderConfig
from hydrarec.nn.encoder import HydraEncoder
from hydrarec.nn.state import EncoderState

_SINGLE_STEPS = 200  # steps at batch 1 that make one measurement


def microseconds(scale: Scale) -> Measured:
    """Of a step for one user."""
    encoder = _encoder(scale)
    return _timed(encoder, {"Hydra": encoder.initial_state(1)}, scale)


def events_per_second(scale: Scale) -> Measured:
    """Of a step for many users at once."""
    encoder = _encoder(scale)
    found = _timed(encoder, {"Hydra": encoder.initial_state(scale.users)}, scale)
    return Measured(found.rows[0].events_per_s, found.rows)


def many_over_few(scale: Scale) -> Measured:
    """Time of a step for one user with a long past over that for one with a short past."""
    encoder = _encoder(scale)
    pasts = {f"Hydra after {events:,}": events for events in (scale.many, scale.few)}
    found = _timed(encoder, {name: _after(encoder, events, scale) for name, events in pasts.items()}, scale)
    many, few = found.rows
    return Measured(many.us_per_call_wall / few.us_per_call_wall, found.rows)


def _encoder(scale: Scale) -> HydraEncoder:
    return HydraEncoder(EncoderConfig(d_model=scale.narrow)).eval()


@torch.no_grad()
def _after(encoder: HydraEncoder, events: int, scale: Scale) -> EncoderState:
    """The state of one user who has seen so many events."""
    state: EncoderState = encoder(torch.randn(events, scale.narrow), histories([events]))[1]
    return state


def _timed(encoder: HydraEncoder, states: dict[str, EncoderState], scale: Scale) -> Measured:
    """Steps from each of the states, interleaved; the value is the microseconds of a call of the first."""
    subjects = {name: _step(encoder, state, scale) for name, state in states.items()}
    found = rows(subjects, interleave({name: subject.variant for name, subject in subjects.items()}, scale))
    first = next(iter(found.values()))
    return Measured(first.us_per_call_wall, list(found.values()))


def _step(encoder: HydraEncoder, state: EncoderState, scale: Scale) -> Subject:
    users = len(state)
    x = torch.randn(users, scale.narrow)
    return Subject(
        variant=Variant(run=lambda: encoder.step_(x, state), repeat=max(1, _SINGLE_STEPS // users)),
        events=users,
        work="step",
        shape=f"{users:,} user{'s' * (users > 1)}, d {scale.narrow}",
        parameters=sum(parameter.numel() for parameter in encoder.parameters()),
    )
