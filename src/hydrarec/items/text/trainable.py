"""What of a language model learns: low-rank adapters or its weights, in all layers or the upper ones."""

from typing import Any

import torch
from torch import Tensor, nn

from hydrarec.errors import InputError
from hydrarec.items.text import libraries
from hydrarec.items.text.backbone import Backbone


def make_trainable(backbone: Backbone, *, adapters: int, layers: int) -> dict[str, nn.Parameter]:
    """Freeze a language model but for what is to learn, and return that, by name.

    Args:
        backbone: changed in place.
        adapters: rank of low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685) beside every linear map, which
            start as nothing; 0: the weights themselves learn.
        layers: how many of the upper layers learn; 0: all, and the row of [ITEM], or with ``adapters=0`` everything.

    Raises:
        InputError: the model has fewer layers.
    """
    model = backbone.model
    if adapters:
        rows = None if layers else [backbone.tokenizer.item_id]
        peft = libraries.peft()
        config = peft.LoraConfig(
            r=adapters, lora_alpha=2 * adapters, target_modules="all-linear", trainable_token_indices=rows
        )
        model = backbone.model = peft.get_peft_model(model, config)
    else:
        model.requires_grad_(True)
    unused = [part for name, part in model.named_modules() if name.endswith("pooler")]
    for part in unused:
        part.requires_grad_(False)
    if layers:
        upper = stack(model)[-layers:]
        if len(upper) < layers:
            raise InputError(f"items.tuning.layers is {layers}; the language model has {len(upper)}")
        kept = {id(parameter) for parameter in upper.parameters()}
        for parameter in model.parameters():
            parameter.requires_grad_(parameter.requires_grad and id(parameter) in kept)
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def stack(model: Any) -> nn.ModuleList:
    """The layers of a language model: its outermost list of modules.

    Raises:
        InputError: it has none.
    """
    found = next((part for part in model.modules() if isinstance(part, nn.ModuleList) and len(part)), None)
    if found is None:
        raise InputError(f"a language model of the kind {type(model).__name__} has no list of layers to choose from")
    return found


@torch.no_grad()
def put(parameters: dict[str, nn.Parameter], values: dict[str, Tensor]) -> None:
    """Give the parameters their learned values.

    Raises:
        InputError: the values are of another language model.
    """
    if parameters.keys() != values.keys():
        odd = sorted(parameters.keys() ^ values.keys())[0]
        raise InputError(f"the trained language model and the one in its folder differ in {odd}; bring the same model")
    for name, parameter in parameters.items():
        parameter.copy_(values[name])
