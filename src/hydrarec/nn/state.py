"""The state of many users: all that a recurrent encoder remembers of their pasts."""

import json
import zlib
from dataclasses import dataclass, fields

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from hydrarec.errors import InputError

VERSION = "4"
_CHECKSUM = 4  # bytes of it, at the end


@dataclass(frozen=True, kw_only=True)
class EncoderState:
    """State of U users in M layers; a few kilobytes a user, whatever the length of the history.

    Attributes:
        position: (U,) int64, events seen so far.
        conv: (U, M, K-1, G, F) last inputs of the convolutions.
        ssm: (U, M, G, E, N) states of the scans.
        timed: (U, M, K, c+1) sums of the time heads when the last event was; K = 0 without.
        hidden: (U, d) hidden state after the last event, zeros before the first: what a request is answered from.
        time: (U,) int64 seconds, when the last event was; 0 before the first.
        waiting: (U,) int64, for models that read an event only when the next one or a request comes: the item row of
            the event that waits, else -1. Nothing else here knows of it but ``waiting_time`` (U,), when it was.
    """

    position: Tensor
    conv: Tensor
    ssm: Tensor
    timed: Tensor
    hidden: Tensor
    time: Tensor
    waiting: Tensor
    waiting_time: Tensor

    def __len__(self) -> int:
        return self.position.numel()

    def tensors(self) -> dict[str, Tensor]:
        """All of it by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def select(self, users: Tensor | slice) -> "EncoderState":
        """State of the users at these places, (n,) int64 or a slice."""
        return EncoderState(**{name: value[users] for name, value in self.tensors().items()})

    def detach(self) -> "EncoderState":
        """The same values, through which no gradient flows."""
        return EncoderState(**{name: value.detach() for name, value in self.tensors().items()})

    def clone(self) -> "EncoderState":
        """A copy that may be updated in place, its tensors dense."""
        return EncoderState(
            **{name: value.clone(memory_format=torch.contiguous_format) for name, value in self.tensors().items()}
        )

    def to_bytes(self) -> bytes:
        """The state as safetensors bytes with a version tag, and a checksum of them."""
        tensors = {name: value.contiguous() for name, value in self.tensors().items()}
        data: bytes = save(tensors, metadata={"hydrarec_state": VERSION})
        return data + _checksum(data)

    @classmethod
    def from_bytes(cls, data: bytes) -> "EncoderState":
        """Read what ``to_bytes`` wrote.

        Raises:
            InputError: damaged bytes, or a state of another version.
        """
        remedy = "rebuild the state from the user's history"
        data, checksum = data[:-_CHECKSUM], data[-_CHECKSUM:]
        if checksum != _checksum(data):
            raise InputError(f"damaged user state (its checksum differs); {remedy}")
        try:
            tensors = load(data)
            version = _version(data)
        except (SafetensorError, ValueError) as error:
            raise InputError(f"damaged user state ({error}); {remedy}") from error
        if version != VERSION or set(tensors) != {f.name for f in fields(cls)}:
            raise InputError(f"user state of version {version}, this is version {VERSION}; {remedy}")
        return cls(**tensors)


def join(states: list[EncoderState]) -> EncoderState:
    """The states of several groups of users as one."""
    return EncoderState(
        **{f.name: torch.cat([getattr(state, f.name) for state in states]) for f in fields(EncoderState)}
    )


def _checksum(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(_CHECKSUM, "little")


def _version(data: bytes) -> str | None:
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    version: str | None = header.get("__metadata__", {}).get("hydrarec_state")
    return version
