"""Operators of torch, made of functions on tensors of the CPU."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch._library.custom_ops import CustomOpDef


def operator(name: str, *, mutates_args: Sequence[str] = ()) -> Callable[[Callable[..., Any]], "CustomOpDef"]:
    """As ``torch.library.custom_op`` does, ``hydrarec::NAME``, but for one thing.

    What torch wraps around a function imports its compiler at the first call, which takes a command a second that needs
    no compiler. The wrapper only lets a kernel be switched off by name. Where a release of torch keeps it elsewhere,
    everything works, a second later.
    """

    def made(function: Callable[..., Any]) -> "CustomOpDef":
        whole = f"hydrarec::{name}"
        defined = torch.library.custom_op(whole, function, mutates_args=mutates_args, device_types="cpu")
        functions = getattr(defined, "_backend_fns", {})
        if "cpu" in functions:
            functions["cpu"] = function
        return defined

    return made
