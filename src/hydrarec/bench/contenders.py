"""The encoders that are compared, by name, and how each one is fed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from hydrarec.data.batch import Batch, pack
from hydrarec.nn.config import EncoderConfig
from hydrarec.nn.encoder import HydraEncoder
from hydrarec.nn.gru import GRU
from hydrarec.nn.hstu import HSTU
from hydrarec.nn.mamba_py import MambaPy
from hydrarec.nn.rival import RivalConfig
from hydrarec.nn.sasrec import SASRec

# Each from its width d and its longest history. All have two layers, dropout 0.2 and, unless they are as published,
# Hydra's feed-forward part: a SwiGLU of width 2 d.
CONTENDERS: dict[str, Callable[[int, int], nn.Module]] = {
    "Hydra": lambda d, most: HydraEncoder(EncoderConfig(d_model=d)),
    "SASRec": lambda d, most: SASRec(RivalConfig(d_model=d, max_len=most)),
    "SASRec published": lambda d, most: SASRec(RivalConfig(d_model=d, max_len=most, ffn=None)),
    "HSTU": lambda d, most: HSTU(RivalConfig(d_model=d, max_len=most)),
    "HSTU published": lambda d, most: HSTU(RivalConfig(d_model=d, max_len=most, ffn=None)),
    "GRU": lambda d, most: GRU(RivalConfig(d_model=d)),
    "mambapy": lambda d, most: MambaPy(RivalConfig(d_model=d)),
}


@dataclass(frozen=True)
class Input:
    """What an encoder reads in one step, and the weight of every output in the loss, 0 for padding."""

    x: Tensor
    weights: Tensor
    forward: Callable[[Tensor], Tensor]


def histories(lengths: Sequence[int]) -> Batch:
    """A packed batch of histories of these lengths; its items and times are all zero."""
    return pack([np.zeros(length, np.int64) for length in lengths])


def packed_input(encoder: nn.Module, lengths: Sequence[int], d: int) -> Input:
    """Hydra's: x (T, d)."""
    batch = histories(lengths)
    x = torch.randn(sum(lengths), d, requires_grad=True)
    return Input(x, torch.randn(x.shape), lambda values: encoder(values, batch)[0])


def padded_input(encoder: nn.Module, lengths: Sequence[int], d: int, width: int) -> Input:
    """A rival's: x (B, width, d), padded on the right."""
    x = torch.randn(len(lengths), width, d, requires_grad=True)
    real = torch.arange(width) < torch.tensor(lengths).unsqueeze(1)  # (B, width)
    weights = torch.randn(x.shape) * real.unsqueeze(2)
    if isinstance(encoder, HSTU):
        times = torch.randint(1, 100_000, real.shape).cumsum(1)
        return Input(x, weights, lambda values: encoder(values, times))
    return Input(x, weights, encoder)
