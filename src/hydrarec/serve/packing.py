"""States of many users as bytes, one row a user, and back: all users at once.

``EncoderState.to_bytes`` describes its tensors in its bytes. In a store the version of the model does that, and a row
is nothing but numbers and a checksum of them. The row of the item that waits has the item's key beside it: rows of
items may be others when a server starts again.
"""

import zlib
from collections.abc import Sequence
from itertools import compress
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from hydrarec.nn.state import EncoderState
from hydrarec.serve.catalog.rows import ItemRows
from hydrarec.serve.stores.contract import State

Precision = Literal["float32", "float16"]
_CHECKSUM = 4  # bytes, at the end of a row
_LARGEST = torch.finfo(torch.float16).max


class StatePacker:
    """Packs states of the model that made ``example``.

    Args:
        example: any state; its shapes are the layout.
        items: that the model knows.
        version: of the model; states of another are not read.
        precision: of the numbers in a row. With float16 a row takes half the bytes, and every step ends in a rounding.
    """

    def __init__(
        self, example: EncoderState, items: ItemRows, *, version: str, precision: Precision = "float32"
    ) -> None:
        tensors = example.tensors()
        self.items, self.version, self.precision = items, version, precision
        self._whole = [name for name, value in tensors.items() if value.dtype == torch.int64]
        self._shapes = {name: value.shape[1:] for name, value in tensors.items() if name not in self._whole}
        self._dtype = np.dtype(precision)
        self._numbers = sum(shape.numel() for shape in self._shapes.values())
        self.row_bytes = 8 * (1 + len(self._whole)) + self._dtype.itemsize * self._numbers + _CHECKSUM

    def round_(self, state: EncoderState) -> None:
        """Give the numbers the values that they have in a row."""
        if self.precision == "float16":
            for name in self._shapes:
                value = state.tensors()[name]
                value.copy_(_half(value).float())

    def pack(self, state: EncoderState) -> list[State]:
        """One for each user of ``state``."""
        tensors = state.tensors()
        waiting = tensors["waiting"].cpu().numpy()
        keys = np.zeros(len(waiting), np.int64)
        keys[waiting >= 0] = self.items.keys(waiting[waiting >= 0].tolist())
        whole = torch.stack([tensors[name] for name in self._whole], 1).cpu()
        numbers = torch.cat([tensors[name].flatten(1) for name in self._shapes], 1).float().cpu()
        if self.precision == "float16":
            numbers = _half(numbers)
        parts = (keys[:, None], whole.numpy(), numbers.numpy())
        rows = [row.tobytes() for row in np.concatenate([_as_bytes(part) for part in parts], 1)]
        return [State(version=self.version, data=row + _checksum(row)) for row in rows]

    def unpack(self, states: Sequence[State | None]) -> tuple[EncoderState, list[int]]:
        """The states that can be read, as one, and their places; others are damaged, of another model, or None."""
        places = [place for place, state in enumerate(states) if state is not None and self._reads(state)]
        data = b"".join(state.data for place in places if (state := states[place]) is not None)
        table = np.frombuffer(data, np.uint8).reshape(len(places), self.row_bytes)
        split = 8 * (1 + len(self._whole))
        keys = np.ascontiguousarray(table[:, :8]).view(np.int64)[:, 0]
        whole = np.ascontiguousarray(table[:, 8:split]).view(np.int64)
        numbers = np.ascontiguousarray(table[:, split:-_CHECKSUM]).view(self._dtype).astype(np.float32)
        tensors: dict[str, Tensor] = {name: torch.from_numpy(whole[:, i].copy()) for i, name in enumerate(self._whole)}
        ends = np.cumsum([0, *(shape.numel() for shape in self._shapes.values())])
        for (name, shape), first, end in zip(self._shapes.items(), ends, ends[1:], strict=False):
            tensors[name] = torch.from_numpy(numbers[:, first:end].copy()).reshape(len(places), *shape)
        waiting = tensors["waiting"].numpy()
        waits = waiting >= 0
        waiting[waits] = self.items.by_keys(keys[waits], waiting[waits])
        lost = waits & (waiting < 0)  # an item that the model does not know any more
        found = EncoderState(**tensors)
        if lost.any():
            found, places = found.select(torch.from_numpy(~lost)), list(compress(places, ~lost))
        return found, places

    def _reads(self, state: State) -> bool:
        whole = state.version == self.version and len(state.data) == self.row_bytes
        return whole and state.data[-_CHECKSUM:] == _checksum(state.data[:-_CHECKSUM])


def _half(numbers: Tensor) -> Tensor:
    return numbers.clamp(-_LARGEST, _LARGEST).half()


def _as_bytes(table: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(table).view(np.uint8).reshape(len(table), table.shape[1] * table.itemsize)


def _checksum(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(_CHECKSUM, "little")
