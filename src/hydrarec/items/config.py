"""What an item's vector is made of."""

from dataclasses import dataclass, field
from typing import Literal

from hydrarec.errors import InputError
from hydrarec.items.text.config import TextConfig


@dataclass(frozen=True, kw_only=True)
class TuningConfig:
    """How the language model learns.

    Attributes:
        mode: ``frozen`` learns nothing: every text is read once. ``lora`` (low-rank adapters) and ``full`` (all
            weights) read the items of each batch with gradient. ``partial`` reads ``budget`` of them, ``cached``
            gathers the gradient of vectors over ``every`` steps and then reads all items that had one; both train
            adapters.
        every: steps between two updates (``cached``).
        budget: items a step (``partial``).
        rank: of the adapters.
        layers: how many of the upper layers learn; 0: all. What the lower ones give is computed once.
        lr: highest learning rate of the language model; the rest of the model has ``train.lr``.
        tokens: read with gradient at a time. What is more is read twice, first without gradient, so that memory stays.
    """

    mode: Literal["frozen", "cached", "partial", "lora", "full"] = "frozen"
    every: int = 100
    budget: int = 256
    rank: int = 8
    layers: int = 0
    lr: float = 1e-4
    tokens: int = 16_384

    def __post_init__(self) -> None:
        for name in ("every", "budget", "rank", "tokens"):
            if getattr(self, name) < 1:
                raise InputError(f"items.tuning.{name} is {getattr(self, name)}; it must be at least 1")
        if self.layers < 0:
            raise InputError(f"items.tuning.layers is {self.layers}; it must not be negative")
        if not self.lr > 0:
            raise InputError(f"items.tuning.lr is {self.lr}; it must be positive")


Storage = Literal["full", "rows", "half", "int8", "hashed", "mapped", "sharded"]


@dataclass(frozen=True, kw_only=True)
class ItemsConfig:
    """Settings of the item encoder.

    Attributes:
        kind: one learned vector an item (``table``), its ``text`` through a language model and a linear map, or
            ``both``: their sum, with a learned weight for the table, which items without a training event have no part
            of.
        storage: how the table of learned vectors is kept. ``full``: float32, dense gradients, AdamW. With all others a
            step touches the rows of its batch alone, by rowwise Adagrad: ``rows`` float32, ``half`` float16, ``int8``,
            ``hashed`` fewer rows than items, ``mapped`` in a file of the run, of which memory holds what is in use,
            ``sharded`` float32, a part of the rows in each of several processes.
        dtype: of the numbers of ``mapped``.
        buckets: rows of ``hashed`` that items share; 0: the square root of their number.
        hashes: how many of these rows an item is the sum of (``hashed``); 0: the product of one, and of one that it
            shares with its neighbours, so that no two items have both.
        unseen: share of the known items that a step reads as if they were unknown, so that ``unseen_vectors`` shared
            vectors learn to stand for items that training never saw; 0: these keep the vectors they began with.
        text: which language model reads which text.
        center: take from each text vector the mean of those of its domain: what all of them have in common tells
            nothing, and hides what sets them apart.
        adapter: rank of a map for each domain, which sets its items apart; 0: none.
        tuning: how the language model learns (``kind`` other than ``table``).
    """

    kind: Literal["table", "text", "both"] = "table"
    storage: Storage = "full"
    dtype: Literal["float16", "bfloat16", "float32"] = "float16"
    buckets: int = 0
    hashes: int = 0
    unseen: float = 0.0
    unseen_vectors: int = 16
    text: TextConfig = field(default_factory=TextConfig)
    center: bool = True
    adapter: int = 0
    tuning: TuningConfig = field(default_factory=TuningConfig)

    def __post_init__(self) -> None:
        for name in ("adapter", "buckets", "hashes"):
            if getattr(self, name) < 0:
                raise InputError(f"items.{name} is {getattr(self, name)}; it must not be negative")
        if not 0 <= self.unseen < 1:
            raise InputError(f"items.unseen is {self.unseen}; it must lie in [0, 1)")
        if self.unseen_vectors < 1:
            raise InputError(f"items.unseen_vectors is {self.unseen_vectors}; it must be at least 1")
        if self.unseen and self.kind != "table":
            raise InputError("items.unseen is for items known by their id alone; with a text they are never unknown")
        if self.hashes and not self.buckets:
            raise InputError("items.hashes chooses among rows of a table; say how many there are: items.buckets")
        if self.kind == "text" and self.storage != "full":
            raise InputError("items.storage is of learned vectors; take items.kind=table, or both")
        if self.kind == "both" and self.storage in ("mapped", "sharded"):
            raise InputError(f"items.storage={self.storage} goes with items.kind=table alone; take half or int8")
        if self.adapter and self.kind == "table":
            raise InputError("items.adapter needs vectors from text; take items.kind=text, or both")
