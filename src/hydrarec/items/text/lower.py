"""What the lower layers of a language model give, kept while only upper ones learn."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hydrarec.items.text.backbone import Backbone
from hydrarec.items.text.encode import reading
from hydrarec.items.text.trainable import stack


class LowerLayers:
    """Hidden states before the upper layers, of texts of a catalog, in a temporary file.

    The upper layers alone are run by taking the lower ones out of the model's list, and putting their states in place
    of what reaches the first upper one.

    Args:
        offsets: (I+1,) int64, where the tokens of each text stand among those of all.
        upper: layers that learn.
    """

    def __init__(self, backbone: Backbone, offsets: np.ndarray, upper: int) -> None:
        self._backbone = backbone
        self._layers = stack(backbone.model)
        self._cut = len(self._layers) - upper
        self._offsets = offsets
        self._dtype = next(backbone.model.parameters()).dtype
        self._folder = tempfile.TemporaryDirectory(prefix="hydrarec-layers-")
        shape = (max(1, int(offsets[-1])), backbone.width)
        size = shape[0] * shape[1]
        self._states = torch.from_file(str(Path(self._folder.name) / "states"), True, size, dtype=self._dtype).view(
            shape
        )
        self._there = np.zeros(len(offsets) - 1, bool)

    def encode(self, texts: np.ndarray, tokens: Tensor, offsets: Tensor) -> Tensor:
        """Vectors of texts (n,) of the catalog, each once, whose tokens are given, as ``Backbone.encode``."""
        new = np.flatnonzero(~self._there[texts])
        if len(new):
            self._read(texts[new], *_some(tokens, offsets, new))
        of_each = [self._states[self._offsets[text] : self._offsets[text + 1]] for text in texts]
        states = torch.cat(of_each).to(next(self._backbone.model.parameters()).device)  # (T, h)
        with self._replaced(self._layers[self._cut :], lambda place: states[place]) as places:
            run = reading(self._backbone.model)

            def read(ids: Tensor, inside: Tensor, place: Tensor) -> Tensor:
                places[:] = [place]
                return run(ids, inside, place)

            return self._backbone.encode(tokens, offsets, read=read)

    @torch.no_grad()
    def _read(self, texts: np.ndarray, tokens: Tensor, offsets: Tensor) -> None:
        kept = torch.empty(len(tokens), self._states.shape[1], dtype=self._dtype)
        run = reading(self._backbone.model)

        def read(ids: Tensor, inside: Tensor, place: Tensor) -> Tensor:
            found: list[Tensor] = []
            hook = self._layers[self._cut].register_forward_pre_hook(lambda layer, given: found.append(given[0]))
            try:
                hidden = run(ids, inside, place)
            finally:
                hook.remove()
            kept[place[inside].cpu()] = found[0][inside].cpu()
            return hidden

        self._backbone.encode(tokens, offsets, read=read)
        bounds = offsets.tolist()
        for i, text in enumerate(texts):
            self._states[self._offsets[text] : self._offsets[text + 1]] = kept[bounds[i] : bounds[i + 1]]
        self._there[texts] = True

    @contextmanager
    def _replaced(self, upper: nn.ModuleList, states_at: Any) -> Iterator[list[Tensor]]:
        """The model with ``upper`` layers only; the states at the places in the list reach the first of them."""
        places: list[Tensor] = []
        owner, name = _owner(self._backbone.model, self._layers)
        hook = upper[0].register_forward_pre_hook(lambda layer, given: (states_at(places[0]), *given[1:]))
        setattr(owner, name, upper)
        try:
            yield places
        finally:
            setattr(owner, name, self._layers)
            hook.remove()


def _owner(model: nn.Module, part: nn.Module) -> tuple[nn.Module, str]:
    for module in model.modules():
        for name, child in module.named_children():
            if child is part:
                return module, name
    raise AssertionError("the layers are not in the model")


def _some(tokens: Tensor, offsets: Tensor, chosen: np.ndarray) -> tuple[Tensor, Tensor]:
    """The sequences ``chosen`` (k,) of packed ones."""
    bounds = offsets.tolist()
    parts = [tokens[bounds[i] : bounds[i + 1]] for i in chosen]
    ends = np.cumsum([0, *(len(part) for part in parts)])
    return torch.cat(parts), torch.from_numpy(ends)
