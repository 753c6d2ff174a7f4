"""AdamW, what it decays, what rowwise Adagrad trains beside it, and the learning rate over time."""

import math
from inspect import unwrap
from typing import Any

import torch
from torch import nn

from hydrarec.items.rows import RowTable, RowwiseAdagrad
from hydrarec.train.config import TrainConfig

# Parameters that are not matrices of a linear map: tables, biases (of all heads at once a matrix), decays, skips,
# convolutions, norms.
_NO_DECAY = ("items.", "domains.", "time.", "positions", "A_log", "bias", "skip", "conv_weight", "norm")


_LANGUAGE = "items.learned"  # what of a language model learns


class AdamW(torch.optim.AdamW):
    """AdamW that does not load torch's compiler, which takes as long again as to load torch.

    torch wraps these methods so that a compiler that is there leaves them alone; what it wraps is taken instead.
    """

    add_param_group = unwrap(torch.optim.AdamW.add_param_group)
    zero_grad = unwrap(torch.optim.AdamW.zero_grad)
    state_dict = unwrap(torch.optim.AdamW.state_dict)
    load_state_dict = unwrap(torch.optim.AdamW.load_state_dict)
    step = torch.no_grad()(unwrap(torch.optim.AdamW.step))


def adamw(model: nn.Module, config: TrainConfig, language_lr: float | None = None) -> AdamW:
    """AdamW with decay on the matrices of linear maps only.

    Each group of parameters has besides ``lr`` its ``share`` of the learning rate of the moment.

    Args:
        language_lr: highest learning rate of a language model in the model.
    """
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    language: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.startswith(_LANGUAGE):
            language.append(parameter)
        elif parameter.dim() < 2 or any(part in name for part in _NO_DECAY):
            free.append(parameter)
        else:
            decayed.append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": config.weight_decay, "share": 1.0},
        {"params": free, "weight_decay": 0.0, "share": 1.0},
    ]
    if language:
        groups.append({"params": language, "weight_decay": 0.0, "share": (language_lr or config.lr) / config.lr})
    return AdamW(groups, lr=config.lr, betas=config.betas, fused=True)


def rowwise(model: nn.Module) -> RowwiseAdagrad:
    """The optimiser of the tables of rows in the model; it has none of a model without."""
    return RowwiseAdagrad(*(module for module in model.modules() if isinstance(module, RowTable)))


def learning_rate(config: TrainConfig, progress: float) -> float:
    """The rate at ``progress`` in [0, 1] of the training."""
    if progress < config.warmup:
        return config.lr * progress / config.warmup
    if config.schedule == "constant":
        return config.lr
    after = (progress - config.warmup) / (1 - config.warmup)
    return config.lr * 0.5 * (1 + math.cos(math.pi * after))
