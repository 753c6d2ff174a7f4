"""What a catalog takes, before anything is bought: bytes by part, and the item encoder that fits."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from hydrarec.errors import InputError
from hydrarec.items.config import Storage

EncoderName = Literal["table", "float32", "float16", "int8", "quotient_remainder"]
_SHARE = 0.8  # of a GPU's memory that item vectors may take; the rest is for the sequence encoder and its activations
_SMALL = 100_000  # items up to which the plain table with dense gradients costs no more time than its rows


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """What is asked.

    Attributes:
        items: V. dim: d. gpus: a process each, which train one model together.
        gpu_memory: bytes of each.
        encoder: None chooses the first that fits, the most accurate first.
        events, negatives: of a step on one GPU.
        id_length: mean bytes of an id that is text; 0: ids are whole numbers.
    """

    items: int
    dim: int = 64
    gpus: int = 1
    gpu_memory: int = 80 * 10**9
    encoder: EncoderName | None = None
    events: int = 8192
    negatives: int = 8192
    id_length: int = 0

    def __post_init__(self) -> None:
        positive = dict.fromkeys(("dim", "gpus", "gpu_memory", "events"), 1)
        for name, least in {"items": 2, **positive, "negatives": 0, "id_length": 0}.items():
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least {least}")

    @property
    def rows(self) -> int:
        """Distinct rows of a step on one GPU, at most: targets are the inputs, one event later."""
        return min(self.events + 1 + self.negatives, self.items)


@dataclass(frozen=True, kw_only=True)
class Tables:
    """Bytes of an encoder's tables and of their optimiser, each row counted once, and of what a step adds on a GPU.

    Attributes:
        storage: the ``items.storage`` that this is.
        sent: bytes that a GPU sends in a step.
    """

    storage: Storage
    weights: int
    optimizer: int
    step: int
    sent: int

    def per_gpu(self, gpus: int) -> int:
        """Only ``sharded`` divides rows among GPUs; of all other tables every process has the whole."""
        return math.ceil((self.weights + self.optimizer) / (gpus if self.storage == "sharded" else 1)) + self.step


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The answer, in bytes.

    Attributes:
        encoder: the one asked for, or the first that fits. storage: the ``items.storage`` that makes it.
        parts: ``weights_bytes`` and ``optimizer_bytes``, each row counted once; ``id_map_bytes`` and ``index_bytes``,
            which lie in the memory of a host that serves: of the plain table its normalised catalog in float32 (all
            others are read as they are), and what proposes items where not all are scored.
        per_gpu_bytes: of tables, their optimiser, and the rows of a step.
        encoders: the same for every encoder.
        fits: whether that is at most 0.8 of a GPU.
        index: ``exact`` or ``ivf``.
        traffic_bytes_per_step: what each GPU sends.
    """

    encoder: str
    storage: Storage
    parts: dict[str, int]
    per_gpu_bytes: int
    encoders: dict[str, int]
    fits: bool
    index: str
    traffic_bytes_per_step: int


def plan(config: PlanConfig, proposing: int = 0) -> Plan:
    """Size a catalog.

    Args:
        proposing: bytes of an index that proposes items (``retrieve.approximate.index_bytes``); 0: all are scored.

    Raises:
        InputError: not even hashed tables fit.
    """
    tables = {name: make(config) for name, make in _TABLES.items()}
    sizes = {name: each.per_gpu(config.gpus) for name, each in tables.items()}
    encoder = config.encoder or _choose(config, sizes)
    return Plan(
        encoder=encoder,
        storage=tables[encoder].storage,
        parts={
            "weights_bytes": tables[encoder].weights,
            "optimizer_bytes": tables[encoder].optimizer,
            "id_map_bytes": id_map_bytes(config.items, config.id_length),
            "index_bytes": proposing + (4 * config.items * config.dim if encoder == "table" else 0),
        },
        per_gpu_bytes=sizes[encoder],
        encoders=sizes,
        fits=sizes[encoder] <= _SHARE * config.gpu_memory,
        index="ivf" if proposing else "exact",
        traffic_bytes_per_step=tables[encoder].sent,
    )


def id_map_bytes(items: int, id_length: int = 0) -> int:
    """A ``Vocabulary``: 8 bytes a whole number; of text its bytes and a 4-byte offset."""
    return items * (id_length + 4 if id_length else 8)


def _choose(config: PlanConfig, sizes: dict[str, int]) -> str:
    for name, size in sizes.items():
        if size <= _SHARE * config.gpu_memory and (name != "table" or config.items <= _SMALL):
            return name
    least = min(sizes.values())
    raise InputError(
        f"no item encoder fits: the smallest takes {least:,} bytes on each of {config.gpus} GPUs of "
        f"{config.gpu_memory:,}, of which {_SHARE:.0%} are for items; take more GPUs or a smaller --dim"
    )


def _plain(config: PlanConfig) -> Tables:
    """With AdamW's two moments and a dense gradient, which goes around all GPUs to be summed."""
    weights = 4 * config.items * config.dim
    sent = 2 * weights * (config.gpus - 1) // config.gpus
    return Tables(storage="full", weights=weights, optimizer=2 * weights, step=weights, sent=sent)


_Sizing = Callable[[PlanConfig], Tables]


def _rows(
    storage: Storage, bytes_a_row: Callable[[int], int], n_rows: Callable[[int], int] = lambda items: items
) -> _Sizing:
    """Tables of rows: rowwise Adagrad's number a row, and a step's vectors with their gradients in float32.

    Every GPU gets the ids and gradients of all others.
    """

    def tables(config: PlanConfig) -> Tables:
        rows, of_step = n_rows(config.items), config.rows
        return Tables(
            storage=storage,
            weights=rows * bytes_a_row(config.dim),
            optimizer=4 * rows,
            step=2 * 4 * of_step * config.dim,
            sent=(config.gpus - 1) * of_step * (8 + 4 * config.dim),
        )

    return tables


def _float32(config: PlanConfig) -> Tables:
    """In shards where there are several GPUs: ids and gradients go to those that have the rows, vectors come back."""
    tables = _rows("rows", lambda dim: 4 * dim)(config)
    if config.gpus == 1:
        return tables
    away = (config.gpus - 1) / config.gpus  # of the rows lie on another GPU
    return replace(tables, storage="sharded", sent=round(config.rows * away * (2 * 8 + 2 * 4 * config.dim)))


_TABLES: dict[str, _Sizing] = {  # the most accurate first
    "table": _plain,
    "float32": _float32,
    "float16": _rows("half", lambda dim: 2 * dim),
    "int8": _rows("int8", lambda dim: dim + 4),
    "quotient_remainder": _rows("hashed", lambda dim: 4 * dim, lambda items: 2 * math.ceil(math.sqrt(items))),
}
