"""What touches every number once: SwiGLU's product, and the interaction of history path and item path."""

# mypy: ignore-errors
import triton
import triton.language as tl


@triton.jit
def swiglu(both, y, size, H, BLOCK: tl.constexpr):
    """y (T, H) = SiLU(gate) * up of both (T, 2H), gate first."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    here = i < size
    at = both + i // H * 2 * H + i % H
    gate = tl.load(at, mask=here, other=0.0).to(tl.float32)
    up = tl.load(at + H, mask=here, other=0.0).to(tl.float32)
    tl.store(y + i, gate * tl.sigmoid(gate) * up, mask=here)


@triton.jit
def swiglu_backward(both, dy, dboth, size, H, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    here = i < size
    at = i // H * 2 * H + i % H
    gate = tl.load(both + at, mask=here, other=0.0).to(tl.float32)
    up = tl.load(both + at + H, mask=here, other=0.0).to(tl.float32)
    gradient = tl.load(dy + i, mask=here, other=0.0).to(tl.float32)
    open = tl.sigmoid(gate)
    tl.store(dboth + at, gradient * up * open * (1 + gate * (1 - open)), mask=here)
    tl.store(dboth + at + H, gradient * gate * open, mask=here)


@triton.jit
def interact(y, z, out, T, G, C, yt, yg, zt, zg, scale, BT: tl.constexpr, BC: tl.constexpr):
    """out (T, G, C) = y * (1 + SiLU(z)) * scale."""
    t = tl.program_id(0).to(tl.int64) * BT + tl.arange(0, BT)
    g = tl.program_id(1).to(tl.int64)
    i = tl.arange(0, BC)
    here = (t < T)[:, None] & (i < C)[None, :]
    read = tl.load(y + t[:, None] * yt + g * yg + i[None, :], mask=here, other=0.0).to(tl.float32)
    item = tl.load(z + t[:, None] * zt + g * zg + i[None, :], mask=here, other=0.0).to(tl.float32)
    tl.store(out + (t * G + g)[:, None] * C + i[None, :], read * scale * (1 + item * tl.sigmoid(item)), mask=here)


@triton.jit
def interact_backward(
    y, z, dout, dy, dz, T, G, C, yt, yg, zt, zg, ot, og, scale, BT: tl.constexpr, BC: tl.constexpr
):  # fmt: skip
    """dy (G, T, C), dz (T, G, C)."""
    t = tl.program_id(0).to(tl.int64) * BT + tl.arange(0, BT)
    g = tl.program_id(1).to(tl.int64)
    i = tl.arange(0, BC)
    here = (t < T)[:, None] & (i < C)[None, :]
    read = tl.load(y + t[:, None] * yt + g * yg + i[None, :], mask=here, other=0.0).to(tl.float32)
    item = tl.load(z + t[:, None] * zt + g * zg + i[None, :], mask=here, other=0.0).to(tl.float32)
    d = tl.load(dout + t[:, None] * ot + g * og + i[None, :], mask=here, other=0.0).to(tl.float32) * scale
    open = tl.sigmoid(item)
    tl.store(dy + (g * T + t)[:, None] * C + i[None, :], d * (1 + item * open), mask=here)
    slope = open * (1 + item * (1 - open))
    tl.store(dz + (t * G + g)[:, None] * C + i[None, :], d * read * slope, mask=here)
