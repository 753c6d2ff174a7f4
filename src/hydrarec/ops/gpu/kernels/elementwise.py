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
def _turned(z, positions, frequencies, t, g, i, known, here, zt, zg, half):
    """The pairs of z, their sigmoids, and cosine and sine of their angles, (BT, BH) each."""
    at = z + t[:, None] * zt + g * zg + i[None, :]
    first = tl.load(at, mask=here, other=0.0).to(tl.float32)
    second = tl.load(at + half, mask=here, other=0.0).to(tl.float32)
    position = tl.load(positions + t, mask=known, other=0).to(tl.float32)
    angle = position[:, None] * tl.load(frequencies + i, mask=i < half, other=0.0)[None, :]
    return first, second, tl.sigmoid(first), tl.sigmoid(second), tl.cos(angle), tl.sin(angle)


@triton.jit
def interact(y, z, positions, frequencies, out, T, G, half, yt, yg, zt, zg, scale, BT: tl.constexpr, BH: tl.constexpr):
    """out (T, G, 2 half) = y * (1 + rotate(SiLU(z))) * scale."""
    t = tl.program_id(0).to(tl.int64) * BT + tl.arange(0, BT)
    g = tl.program_id(1).to(tl.int64)
    i = tl.arange(0, BH)
    known = t < T
    here = known[:, None] & (i < half)[None, :]
    z1, z2, open1, open2, cos, sin = _turned(z, positions, frequencies, t, g, i, known, here, zt, zg, half)
    s1, s2 = z1 * open1, z2 * open2
    at = y + t[:, None] * yt + g * yg + i[None, :]
    y1 = tl.load(at, mask=here, other=0.0).to(tl.float32) * scale
    y2 = tl.load(at + half, mask=here, other=0.0).to(tl.float32) * scale
    at = out + (t * G + g)[:, None] * 2 * half + i[None, :]
    tl.store(at, y1 * (1 + s1 * cos - s2 * sin), mask=here)
    tl.store(at + half, y2 * (1 + s1 * sin + s2 * cos), mask=here)


@triton.jit
def interact_backward(
    y, z, positions, frequencies, dout, dy, dz, T, G, half, yt, yg, zt, zg, ot, og, scale,
    BT: tl.constexpr, BH: tl.constexpr,
):  # fmt: skip
    """dy (G, T, 2 half), dz (T, G, 2 half)."""
    t = tl.program_id(0).to(tl.int64) * BT + tl.arange(0, BT)
    g = tl.program_id(1).to(tl.int64)
    i = tl.arange(0, BH)
    known = t < T
    here = known[:, None] & (i < half)[None, :]
    z1, z2, open1, open2, cos, sin = _turned(z, positions, frequencies, t, g, i, known, here, zt, zg, half)
    s1, s2 = z1 * open1, z2 * open2
    at = dout + t[:, None] * ot + g * og + i[None, :]
    d1 = tl.load(at, mask=here, other=0.0).to(tl.float32) * scale
    d2 = tl.load(at + half, mask=here, other=0.0).to(tl.float32) * scale
    at = dy + (g * T + t)[:, None] * 2 * half + i[None, :]
    tl.store(at, d1 * (1 + s1 * cos - s2 * sin), mask=here)
    tl.store(at + half, d2 * (1 + s1 * sin + s2 * cos), mask=here)
    at = y + t[:, None] * yt + g * yg + i[None, :]
    d1 *= tl.load(at, mask=here, other=0.0).to(tl.float32)
    d2 *= tl.load(at + half, mask=here, other=0.0).to(tl.float32)
    at = dz + (t * G + g)[:, None] * 2 * half + i[None, :]
    tl.store(at, (d1 * cos + d2 * sin) * open1 * (1 + z1 * (1 - open1)), mask=here)
    tl.store(at + half, (d2 * cos - d1 * sin) * open2 * (1 + z2 * (1 - open2)), mask=here)
