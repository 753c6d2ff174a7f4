"""Which language model reads the text of items, and how."""

from dataclasses import dataclass
from typing import Literal

from hydrarec.errors import InputError


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """Settings of item text.

    Attributes:
        model: a folder with a language model, its name on the Hugging Face hub, or ``package:NAME`` for one that the
            installed Python package NAME carries. Names, unlike folders, mean the same on every machine.
        fields: columns of the item table that are read, in this order; empty: all text but id and domain. Codes
            and file names are text too, so name the fields where there are such.
        prompt: stands before the text of every item, as it is: end it with a space. None is better for models that
            were trained to embed sentences.
        max_tokens: longest sequence, in tokens, with the prompt, the tokens that the model itself sets around a text
            and [ITEM]. What is longer is cut at the end of the text.
        pooling: what becomes the item's vector: the last hidden state at [ITEM] (``item``), or the mean over the
            sequence without [ITEM] (``mean``: what models that embed sentences were trained for).
        dtype: type of the weights.
    """

    model: str = "sentence-transformers/all-MiniLM-L6-v2"
    fields: tuple[str, ...] = ()
    prompt: str = ""
    max_tokens: int = 64
    pooling: Literal["item", "mean"] = "item"
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise InputError("items.text.model is empty; name a folder, a model on the hub, or package:NAME")
        if self.max_tokens < 1:
            raise InputError(f"items.text.max_tokens is {self.max_tokens}; it must be at least 1")
        if len(set(self.fields)) < len(self.fields):
            raise InputError(f"items.text.fields names a column twice: {', '.join(self.fields)}")
