"""Hydra's sequence encoder: item vectors in, hidden states out, the state carried along."""

from dataclasses import replace
from typing import Self, cast

import torch
from torch import Tensor, nn

from hydrarec.data.batch import Batch
from hydrarec.nn.config import EncoderConfig
from hydrarec.nn.layer import HydraLayer
from hydrarec.nn.mamba import HeadState
from hydrarec.nn.norm import RMSNorm
from hydrarec.nn.state import EncoderState
from hydrarec.nn.step import Stepper, fits, step_by_layers
from hydrarec.nn.time import Gaps, TimeFeatures
from hydrarec.nn.time_heads import TimeHeads
from hydrarec.ops import dropout, norm_linear, projection_fits


class HydraEncoder(nn.Module):
    """RMSNorm(Dropout(x)), then Hydra layers, then the output projection.

    With ``time``, features of the gaps around an event are added to its vector, and time heads stand before each layer.
    A history fed whole, in chunks, or event by event gives the same hidden states.
    """

    def __init__(self, config: EncoderConfig, *, time: bool = False) -> None:
        super().__init__()
        self._stepper: Stepper | None = None
        self.config = config
        self.time = TimeFeatures(config.d_model) if time else None
        n_timed = config.n_layers if time and config.time_heads else 0
        self.time_heads = nn.ModuleList(TimeHeads(config) for _ in range(n_timed))
        self.norm = RMSNorm(config.d_model)
        self.layers = nn.ModuleList(HydraLayer(config) for _ in range(config.n_layers))
        d = config.d_model
        self.output: nn.Module = nn.Identity()
        if config.output_projection:
            self.output = nn.Sequential(RMSNorm(d), nn.Linear(d, d, bias=False))

    def train(self, mode: bool = True) -> Self:
        self._stepper = None  # its copy of the weights: optimisers change them and leave their versions as they are
        return super().train(mode)

    def initial_state(self, n_users: int) -> EncoderState:
        """The state before the first event."""
        states = [cast(HydraLayer, layer).heads.initial_state(n_users) for layer in self.layers]
        ssm = torch.stack([state.ssm for state in states], dim=1)
        timed = [cast(TimeHeads, heads).initial_state(n_users) for heads in self.time_heads]
        never = torch.zeros(n_users, dtype=torch.int64, device=ssm.device)
        return EncoderState(
            position=never.clone(),
            conv=torch.stack([state.conv for state in states], dim=1),
            ssm=ssm,
            timed=torch.stack(timed, dim=1) if timed else ssm.new_zeros(n_users, len(states), 0, 0),
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
        gaps = Gaps.of(batch, state) if self.time is not None else None
        if self.time is not None:
            x = x + self.time(gaps)
        h = self.norm(dropout(x, self.config.dropout, self.training))
        states, timed = [], []
        for i, layer in enumerate(self.layers):
            if self.time_heads:
                h, remembered = self.time_heads[i](h, gaps, batch.offsets, None if state is None else state.timed[:, i])
                timed.append(remembered)
            before = None if state is None else HeadState(state.conv[:, i], state.ssm[:, i])
            h, after = layer(h, batch.offsets, before)
            states.append(after)
        h = self._output(h)
        state = self.initial_state(batch.n_users) if state is None else state
        last, some = batch.last.clamp(min=0), batch.lengths > 0
        return h, replace(
            state,
            position=start + batch.lengths,
            conv=torch.stack([after.conv for after in states], dim=1),
            ssm=torch.stack([after.ssm for after in states], dim=1),
            timed=torch.stack(timed, dim=1) if timed else state.timed,
            hidden=torch.where(some.unsqueeze(1), h[last], state.hidden) if len(h) else state.hidden,
            time=torch.where(some, batch.times[last], state.time) if len(h) else state.time,
        )

    def _output(self, h: Tensor) -> Tensor:
        projected: Tensor
        if isinstance(self.output, nn.Sequential) and projection_fits(h):
            norm, linear = cast(RMSNorm, self.output[0]), cast(nn.Linear, self.output[1])
            projected = norm_linear(h, norm.weight, linear.weight, norm.eps)
        else:
            projected = self.output(h)
        return projected

    @torch.no_grad()
    def step_(self, x: Tensor, state: EncoderState, batch: Batch | None = None) -> Tensor:
        """One event of each of U users, as at a server: no dropout, no gradient, the state is updated where it lies.

        Args:
            x: (U, d) item vectors.
            state: of the U users, its tensors dense.
            batch: the events, for their times; needed where time is read.

        Returns:
            (U, d) the new hidden states; they are ``state.hidden``.
        """
        untold = self.time is not None and batch is None  # which is an error there
        if self.training or untold or not fits(self.config, self.norm.weight):
            return step_by_layers(self, x, state, batch)
        if self._stepper is None:
            self._stepper = Stepper(self)
        if self.time is None or batch is None:
            return self._stepper(x, state)
        gaps = Gaps.of(batch, state)
        hidden = self._stepper(x + self.time(gaps), state, gaps if self.time_heads else None)
        state.time.copy_(batch.times)
        return hidden
