"""Hydra: id item encoder, Hydra encoder, scorer."""

from dataclasses import dataclass

from torch import Tensor

from hydrarec.data.batch import Batch
from hydrarec.errors import InputError
from hydrarec.models.recurrent import RecurrentModel
from hydrarec.nn.config import EncoderConfig
from hydrarec.nn.encoder import HydraEncoder
from hydrarec.nn.state import EncoderState


@dataclass(frozen=True, kw_only=True)
class HydraConfig(EncoderConfig):
    """The encoder's settings and the scorer's.

    Attributes:
        normalize: L2-normalise hidden states and item vectors before their product.
        temperature: divides the normalised product.
    """

    normalize: bool = True
    temperature: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise InputError(f"temperature must be positive, not {self.temperature}")


class Hydra(RecurrentModel):
    """Multi-head latent Mamba over a table of item vectors (arXiv 2504.07398)."""

    name = "hydra"
    config: HydraConfig

    def __init__(self, config: HydraConfig, n_items: int) -> None:
        super().__init__(config, n_items)
        self.encoder = HydraEncoder(config)

    def resume(self, batch: Batch, state: EncoderState | None) -> tuple[Tensor, EncoderState]:
        hidden, state = self.encoder(self.items.encode(batch.items), batch, state)
        return hidden, state

    def step_(self, items: Tensor, state: EncoderState) -> Tensor:
        return self.encoder.step_(self.items.encode(items), state)

    def initial_state(self, n_users: int) -> EncoderState:
        return self.encoder.initial_state(n_users)
