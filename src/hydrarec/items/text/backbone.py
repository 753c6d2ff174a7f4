"""A pretrained language model that gives one vector a token sequence."""

from typing import Any, Self

import torch
from torch import Tensor, nn

from hydrarec.errors import InputError
from hydrarec.items.text.config import TextConfig
from hydrarec.items.text.encode import AT_ONCE, Read, encode, reading
from hydrarec.items.text.folder import model_folder
from hydrarec.items.text.pretrained import load_model, read_config
from hydrarec.items.text.tokenizer import ItemTokenizer


class Backbone(nn.Module):
    """A language model, encoder or decoder, whose embedding has a row for [ITEM].

    Attributes:
        model: the model of transformers, with no head.
        tokenizer: makes its sequences; ``tokenizer.item_id`` is the row of [ITEM].
        width: h, the width of a vector.
        longest: tokens of the longest sequence, ``TextConfig.max_tokens``.
    """

    def __init__(self, model: Any, tokenizer: ItemTokenizer, config: TextConfig) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.pooling = config.pooling
        self.width: int = model.config.hidden_size
        self.longest = config.max_tokens

    @classmethod
    def load(cls, config: TextConfig) -> Self:
        """The model ``config.model``, in evaluation mode, on the CPU. No code and no pickle of a model is read.

        Raises:
            InputError: there is no such model, it is damaged, no text model, or reads less than ``config.max_tokens``.
        """
        folder = model_folder(config.model)
        described = read_config(folder, config)
        tokenizer = ItemTokenizer.load(folder, config)
        return cls(load_model(folder, described, tokenizer, config), tokenizer, config)

    def encode(self, tokens: Tensor, offsets: Tensor, at_once: int = AT_ONCE, read: Read | None = None) -> Tensor:
        """Vectors of sequences laid end to end, with gradient unless it is turned off.

        Args:
            tokens: (T,) ids of any integer type, as ``TextStore.tokens`` gives them.
            offsets: (n+1,); sequence i is ``tokens[offsets[i]:offsets[i+1]]``. Equal ones are encoded each.
            at_once: tokens that the model reads at a time.
            read: reads in place of the model, which gives the places of tokens among ``tokens``.

        Returns:
            (n, h) in the model's dtype.

        Raises:
            InputError: a sequence is empty, or longer than the tokenizer makes them.
        """
        weight: Tensor = next(self.model.parameters())
        if len(offsets) == 1:
            return weight.new_zeros(0, self.width)
        lengths = offsets.diff()
        if lengths.min() < 1 or lengths.max() > self.longest:
            raise InputError(
                f"token sequences of {int(lengths.min())} to {int(lengths.max())} tokens; there must be 1 to "
                f"{self.longest}: take them from a store with this model's tokenizer"
            )
        tokens, offsets = tokens.to(weight.device, torch.long), offsets.to(weight.device, torch.long)
        return encode(read or reading(self.model), tokens, offsets, pooling=self.pooling, at_once=at_once)

    def forward(self, tokens: Tensor, offsets: Tensor) -> Tensor:
        return self.encode(tokens, offsets)
