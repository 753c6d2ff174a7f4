"""Hydra: id item encoder, Hydra encoder, scorer."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hydrarec.data.batch import Batch
from hydrarec.models.neural import TimedConfig
from hydrarec.models.recurrent import RecurrentModel
from hydrarec.nn.config import EncoderConfig
from hydrarec.nn.encoder import HydraEncoder
from hydrarec.nn.state import EncoderState
from hydrarec.nn.time import TimeFeatures


@dataclass(frozen=True, kw_only=True)
class HydraConfig(TimedConfig, EncoderConfig):
    """The settings of the encoder, of time, and of the scorer."""


class Hydra(RecurrentModel):
    """Multi-head latent Mamba over a table of item vectors (arXiv 2504.07398)."""

    name = "hydra"
    config: HydraConfig

    def __init__(self, config: HydraConfig, n_items: int) -> None:
        super().__init__(config, n_items)
        self.encoder = HydraEncoder(config)
        self.time = TimeFeatures(config.d_model) if config.time else None

    @property
    def sees_request_time(self) -> bool:
        return self.config.time

    def resume(self, batch: Batch, state: EncoderState | None) -> tuple[Tensor, EncoderState]:
        hidden, after = self.encoder(self._inputs(batch, state), batch, state)
        if self.time is not None and len(batch.items):
            last = batch.times[batch.last.clamp(min=0)]
            after = replace(after, time=torch.where(batch.lengths > 0, last, after.time))
        return hidden, after

    def step_(self, batch: Batch, state: EncoderState) -> Tensor:
        hidden = self.encoder.step_(self._inputs(batch, state), state)
        if self.time is not None:
            state.time.copy_(batch.times)
        return hidden

    def initial_state(self, n_users: int) -> EncoderState:
        return self.encoder.initial_state(n_users)

    def _inputs(self, batch: Batch, state: EncoderState | None) -> Tensor:
        """(T, d) what the encoder reads: items, and when they were met."""
        items = self.items.encode(batch.items)
        return items if self.time is None else items + self.time(batch, state)
