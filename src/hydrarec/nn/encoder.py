"""Hydra's sequence encoder: item vectors in, hidden states out, the state carried along."""

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from hydrarec.data.batch import Batch
from hydrarec.nn.config import EncoderConfig
from hydrarec.nn.layer import HydraLayer
from hydrarec.nn.mamba import HeadState
from hydrarec.nn.norm import RMSNorm
from hydrarec.nn.rope import positions_of
from hydrarec.nn.state import EncoderState
from hydrarec.nn.step import Stepper, fits, step_by_layers
from hydrarec.ops import dropout, norm_linear, projection_fits


class HydraEncoder(nn.Module):
    """RMSNorm(Dropout(x)), then Hydra layers, then the output projection.

    A history fed whole, in chunks, or event by event gives the same hidden states.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.norm = RMSNorm(config.d_model)
        self.layers = nn.ModuleList(HydraLayer(config) for _ in range(config.n_layers))
        d = config.d_model
        self.output: nn.Module = nn.Identity()
        if config.output_projection:
            self.output = nn.Sequential(RMSNorm(d), nn.Linear(d, d, bias=False))
        self._stepper: Stepper | None = None

    def initial_state(self, n_users: int) -> EncoderState:
        """The state before the first event."""
        states = [cast(HydraLayer, layer).heads.initial_state(n_users) for layer in self.layers]
        conv, ssm = _stack(states)
        never = torch.zeros(n_users, dtype=torch.int64, device=ssm.device)
        return EncoderState(
            position=never.clone(),
            conv=conv,
            ssm=ssm,
            hidden=ssm.new_zeros(n_users, self.config.d_model),
            time=never.clone(),
            waiting=never - 1,
            waiting_time=never.clone(),
        )

    def forward(self, x: Tensor, batch: Batch, state: EncoderState | None = None) -> tuple[Tensor, EncoderState]:
        """Encode the histories of ``batch``.

        Args:
            x: (T, d) item vectors of the batch's events.
            batch: B histories.
            state: of the B users before these events; None means that the histories begin here.

        Returns:
            h (T, d): h[t] has seen the events of its user up to and including t. And the new state.
        """
        start = torch.zeros_like(batch.offsets[1:]) if state is None else state.position
        positions = positions_of(batch.offsets, start, self.config.period)
        h = self.norm(dropout(x, self.config.dropout, self.training))
        states = []
        for i, layer in enumerate(self.layers):
            before = None if state is None else HeadState(state.conv[:, i], state.ssm[:, i])
            h, after = layer(h, positions, batch.offsets, before)
            states.append(after)
        h = self._output(h)
        hidden = h[batch.last.clamp(min=0)] if len(h) else h.new_zeros(batch.n_users, h.shape[1])
        state = self.initial_state(batch.n_users) if state is None else state
        hidden = torch.where((batch.lengths > 0).unsqueeze(1), hidden, state.hidden)
        conv, ssm = _stack(states)
        return h, replace(state, position=start + batch.lengths, hidden=hidden, conv=conv, ssm=ssm)

    def _output(self, h: Tensor) -> Tensor:
        projected: Tensor
        if isinstance(self.output, nn.Sequential) and projection_fits(h):
            norm, linear = cast(RMSNorm, self.output[0]), cast(nn.Linear, self.output[1])
            projected = norm_linear(h, norm.weight, linear.weight, norm.eps)
        else:
            projected = self.output(h)
        return projected

    @torch.no_grad()
    def step_(self, x: Tensor, state: EncoderState) -> Tensor:
        """One event of each of U users, as at a server: no dropout, no gradient, the state is updated where it lies.

        Args:
            x: (U, d) item vectors.
            state: of the U users, its tensors dense.

        Returns:
            (U, d) the new hidden states; they are ``state.hidden``.
        """
        if self.training or not fits(self.config, self.norm.weight):
            return step_by_layers(self, x, state)
        if self._stepper is None:
            self._stepper = Stepper(self)
        return self._stepper(x, state)


def _stack(states: list[HeadState]) -> tuple[Tensor, Tensor]:
    """conv and ssm of all layers, each (U, M, ...)."""
    return torch.stack([state.conv for state in states], dim=1), torch.stack([state.ssm for state in states], dim=1)
