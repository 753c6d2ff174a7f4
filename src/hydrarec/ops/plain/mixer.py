"""Everything between W_XZ and W_O of a layer with Mamba-2 heads, in plain PyTorch: a twin of ``hydrarec.ops.mixer``.

Tile after tile passes through all steps while it is in the processor's cache. Only both paths' inputs and the states
between tiles are kept; the backward computes the rest again.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hydrarec.ops.plain.head import Weights, heads, heads_backward
from hydrarec.ops.plain.inputs import window_weights
from hydrarec.ops.plain.paths import paths, paths_backward
from hydrarec.ops.plain.tiles import Tile, tiles
from hydrarec.ops.status import warn_of_absence

_FLOATS = 2**18  # of a tile's convolved inputs, for each thread: what its cache holds


def plain_mixer_fits(xz: Tensor, offsets: Tensor) -> bool:
    """Whether it pays: on the CPU, unless single events are read, which the margins would make many."""
    return xz.device.type == "cpu" and (torch.is_grad_enabled() or len(xz) > 4 * len(offsets))


def plain_mixer(
    xz: Tensor,
    in_proj: Tensor,
    out_proj: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor,
    skip: Tensor,
    norm: Tensor,
    A: Tensor,
    dt_bias: Tensor,
    offsets: Tensor,
    conv_state: Tensor | None,
    state: Tensor | None,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """See ``hydrarec.ops.mixer.mixer``; all tensors in one dtype, float32 or float64."""
    warn_of_absence()
    (G, W, K), E, U = conv_weight.shape, skip.shape[1], len(offsets) - 1
    N = (W - E) // 2
    gate, joint, step = (part.contiguous() for part in in_proj.split([E, W, 1], dim=2))
    out = out_proj * norm.unsqueeze(2) * (scale * E**0.5)
    rows = conv_bias.unsqueeze(1), skip.unsqueeze(1), A.flatten(), dt_bias.unsqueeze(1)
    weights = gate, joint, step, *window_weights(joint, conv_weight), out, *rows
    # Head-major, as tiles read them.
    before = xz.new_zeros(G, U, K - 1, W) if conv_state is None else conv_state.permute(2, 0, 1, 3)
    start = xz.new_zeros(G, U, E * N) if state is None else state.flatten(2).transpose(0, 1)
    with torch.autocast("cpu", enabled=False):
        outputs: tuple[Tensor, Tensor, Tensor] = _Mixer.apply(xz, before, start, offsets, *weights)
    u, after, final = outputs
    return u, after.permute(1, 2, 0, 3), final.view(G, U, E, N).transpose(0, 1)


class _Mixer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        xz: Tensor,
        conv: Tensor,
        state: Tensor,
        offsets: Tensor,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        w = Weights(*weights)
        G, c, width = w.joint.shape
        K = conv.shape[2] + 1
        u, conv, state = xz.new_empty(len(xz), G * c), conv.clone(), state.clone()
        ctx.tiles = tiles(offsets, K - 1, _FLOATS * torch.get_num_threads() // (G * width), xz.dtype)
        kept = list[Tensor]()
        for tile in ctx.tiles:
            conv_before, before = conv[:, tile.users].clone(), state[:, tile.users].clone()
            x, z = paths(xz[tile.events], G, c)
            kept += [conv_before, before, x, z]
            h = heads(_laid_out(x, tile, K - 1), w, conv_before, before, tile.grid)
            torch.mul(_packed(h.y, tile), z, out=u[tile.events].view_as(z))
            conv[:, tile.users], state[:, tile.users] = h.after, h.scan.final
        ctx.save_for_backward(xz, *weights, *kept)
        return u, conv, state

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, du: Tensor, dconv: Tensor, dstate: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast("cpu", enabled=False):
            return _backward(ctx, du, dconv, dstate)


def _backward(ctx: Any, du: Tensor, dconv: Tensor, dstate: Tensor) -> tuple[Tensor | None, ...]:
    xz, *rest = ctx.saved_tensors
    w, kept = Weights(*rest[:10]), rest[10:]
    K = dconv.shape[2] + 1
    sums = w.zeros()
    dxz, dconv, dstate = torch.empty_like(xz), dconv.clone(), dstate.clone()
    for i, tile in reversed(list(enumerate(ctx.tiles))):
        part = xz[tile.events]
        conv_before, before, x, z = kept[4 * i : 4 * i + 4]
        h = heads(_laid_out(x, tile, K - 1), w, conv_before, before, tile.grid)
        d = du[tile.events].view_as(z)
        dy = _laid_out(d * z, tile)
        after = dconv[:, tile.users], dstate[:, tile.users]
        dx, dbefore, dstart = heads_backward(dy, *after, h, w, sums, tile.grid)
        dconv[:, tile.users], dstate[:, tile.users] = dbefore, dstart
        dz = d * _packed(h.y, tile)
        paths_backward(_packed(dx, tile), dz, part, out=dxz[tile.events])
    return dxz, dconv, dstate, None, *vars(sums).values()


def _laid_out(x: Tensor, tile: Tile, margin: int = 0) -> Tensor:
    """(t, G, c) -> (G, margin + R, c), zeros where there is no event."""
    _, G, c = x.shape
    rows = x.new_zeros(G, margin + len(tile.grid.filled), c)
    rows[:, margin:].index_copy_(1, tile.grid.place, x.transpose(0, 1))
    return rows


def _packed(y: Tensor, tile: Tile) -> Tensor:
    """(G, R, c) -> (t, G, c)."""
    return y.index_select(1, tile.grid.place).transpose(0, 1)
