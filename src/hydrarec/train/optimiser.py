"""AdamW, what it decays, and the learning rate over time."""

import math

import torch
from torch import nn

from hydrarec.train.config import TrainConfig

# Parameters that are not matrices of a linear map: tables, biases (of all heads at once a matrix), decays, skips,
# convolutions, norms.
_NO_DECAY = ("items.", "domains.", "time.", "positions", "A_log", "bias", "skip", "conv_weight", "norm")


def adamw(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW with decay on the matrices of linear maps only."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        is_free = parameter.dim() < 2 or any(part in name for part in _NO_DECAY)
        (free if is_free else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)


def learning_rate(config: TrainConfig, progress: float) -> float:
    """The rate at ``progress`` in [0, 1] of the training."""
    if progress < config.warmup:
        return config.lr * progress / config.warmup
    if config.schedule == "constant":
        return config.lr
    after = (progress - config.warmup) / (1 - config.warmup)
    return config.lr * 0.5 * (1 + math.cos(math.pi * after))
