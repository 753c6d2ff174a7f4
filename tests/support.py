"""What the tests of several rooms share: packed histories of random lengths, and small data sets."""

from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from hydrarec.data.protocol import Protocol
from hydrarec.data.store import Dataset
from hydrarec.nn.config import EncoderConfig


def offsets_of(lengths: list[int]) -> torch.Tensor:
    return torch.tensor([0, *lengths]).cumsum(0)


def ragged(most: int, users: int = 4) -> st.SearchStrategy[list[int]]:
    """Lengths of histories, empty ones and single events among them."""
    length = st.one_of(st.sampled_from([0, 1]), st.integers(most // 2, most), st.integers(0, most))
    return st.lists(length, min_size=1, max_size=users)


def small_config(**changes: Any) -> EncoderConfig:
    plain = {"d_model": 8, "n_layers": 2, "n_heads": 2, "d_state": 3, "dropout": 0.0}
    return EncoderConfig(**{**plain, **changes})


def dataset_of(histories: list[list[int]], *, n_items: int | None = None, split: str = "loo") -> Dataset:
    """A data set without times, item ids = item rows."""
    items = np.concatenate([np.asarray(history, np.int32) for history in histories])
    offsets = np.cumsum([0, *map(len, histories)])
    ids = None if n_items is None else np.arange(n_items)
    return Dataset.from_arrays(items, offsets, item_ids=ids, protocol=Protocol.named(split))


def cyclic(users: int = 24, length: int = 9, n_items: int = 6, split: str = "loo") -> Dataset:
    """Every history counts upwards modulo ``n_items``: the next item is certain."""
    return dataset_of([[(user + t) % n_items for t in range(length)] for user in range(users)], split=split)


def close(got: torch.Tensor, expected: torch.Tensor, relative: float) -> None:
    """Largest difference, measured against the largest expected value."""
    assert got.shape == expected.shape
    if expected.numel():
        difference = (got.double() - expected.double()).abs().max().item()
        scale = expected.double().abs().max().clamp(min=1e-30).item()
        assert difference <= relative * scale, f"{difference / scale:.2e} > {relative:.0e}"


class Largest(TorchDispatchMode):
    """Notes the largest result of any operation, but for the table's own storage."""

    def __init__(self, table):
        super().__init__()
        self.own = {value.untyped_storage().data_ptr() for value in (*table.buffers(), *table.parameters())}
        self.bytes = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        results = function(*arguments, **(options or {}))
        for value in results if isinstance(results, tuple | list) else [results]:
            if isinstance(value, torch.Tensor) and value.untyped_storage().data_ptr() not in self.own:
                self.bytes = max(self.bytes, value.untyped_storage().nbytes())
        return results
