"""Hydra: id item encoder, Hydra encoder, scorer."""

from dataclasses import dataclass

from torch import Tensor

from hydrarec.data.batch import Batch
from hydrarec.models.neural import TimedConfig
from hydrarec.models.recurrent import RecurrentModel
from hydrarec.nn.config import EncoderConfig
from hydrarec.nn.encoder import HydraEncoder
from hydrarec.nn.state import EncoderState


@dataclass(frozen=True, kw_only=True)
class HydraConfig(TimedConfig, EncoderConfig):
    """The settings of the encoder, of time, and of the scorer."""


class Hydra(RecurrentModel):
    """Multi-head latent Mamba over a table of item vectors (arXiv 2504.07398)."""

    name = "hydra"
    config: HydraConfig

    def __init__(self, config: HydraConfig, n_items: int) -> None:
        super().__init__(config, n_items)
        self.encoder = HydraEncoder(config, time=config.time)

    @property
    def sees_request_time(self) -> bool:
        return self.config.time

    def resume(self, batch: Batch, state: EncoderState | None) -> tuple[Tensor, EncoderState]:
        hidden, state = self.encoder(self.items.encode(batch.items), batch, state)
        return hidden, state

    def step_(self, batch: Batch, state: EncoderState) -> Tensor:
        return self.encoder.step_(self.items.encode(batch.items), state, batch)

    def initial_state(self, n_users: int) -> EncoderState:
        return self.encoder.initial_state(n_users)
