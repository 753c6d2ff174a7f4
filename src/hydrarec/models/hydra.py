"""Hydra: id item encoder, vectors of domains, Hydra encoder, scorer."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from hydrarec.data.batch import Batch
from hydrarec.data.store import Dataset
from hydrarec.items.contract import ItemEncoder
from hydrarec.items.domains import DomainTable
from hydrarec.models.neural import Items, TimedConfig
from hydrarec.models.recurrent import RecurrentModel
from hydrarec.nn.config import EncoderConfig
from hydrarec.nn.encoder import HydraEncoder
from hydrarec.nn.state import EncoderState


@dataclass(frozen=True, kw_only=True)
class HydraConfig(TimedConfig, EncoderConfig):
    """The settings of the encoder, of time, and of the scorer, and one more.

    Attributes:
        domain_embedding: where the data has domains, add a learned vector of the item's to that of each event.
    """

    domain_embedding: bool = True


class Hydra(RecurrentModel):
    """Multi-head latent Mamba over a table of item vectors (arXiv 2504.07398).

    Args:
        item_domains: (V,) the domain of each item as a whole number; None: there are none.
    """

    name = "hydra"
    config: HydraConfig

    def __init__(self, config: HydraConfig, items: Items, item_domains: Tensor | None = None) -> None:
        super().__init__(config, items)
        self.domains: DomainTable | None = None
        if config.domain_embedding and item_domains is not None:
            self.domains = DomainTable(item_domains, config.d_model)
        self.encoder = HydraEncoder(config, time=config.time)

    @classmethod
    def for_data(cls, config: HydraConfig, dataset: Dataset, items: ItemEncoder | None = None) -> Self:
        codes = dataset.item_domains
        return cls(config, items or dataset.n_items, None if codes is None else torch.from_numpy(codes))

    @classmethod
    def from_tensors(cls, config: HydraConfig, items: Items, tensors: dict[str, Tensor]) -> Self:
        model = cls(config, items, tensors.get("domains.item_domains"))
        model.load_state_dict(tensors)
        return model.eval()

    @property
    def reads_unknown_items(self) -> bool:
        """Not where items have domains: that of an unknown one is not known either."""
        return super().reads_unknown_items and self.domains is None

    def resume(self, batch: Batch, state: EncoderState | None) -> tuple[Tensor, EncoderState]:
        hidden, state = self.encoder(self._inputs(batch), batch, state)
        return hidden, state

    def step_(self, batch: Batch, state: EncoderState) -> Tensor:
        return self.encoder.step_(self._inputs(batch), state, batch)

    def initial_state(self, n_users: int) -> EncoderState:
        return self.encoder.initial_state(n_users)

    def _inputs(self, batch: Batch) -> Tensor:
        """(T, d) vectors of the events' items, and of their domains."""
        x = self.items.encode_history(batch.items)
        return x if self.domains is None else x + self.domains.encode(batch.items)
