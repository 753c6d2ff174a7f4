"""RMSNorm of the rows of (T, G, E), of x or of x * SiLU(gate), with a weight for each head."""

# mypy: ignore-errors
import triton
import triton.language as tl


@triton.jit
def _gated(x, gate, t, g, e, here, xt, xg, gt, gg, GATED: tl.constexpr):
    """(BT, BE) x, SiLU(gate) and its derivative; ones and zeros without a gate."""
    inputs = tl.load(x + t[:, None] * xt + g * xg + e[None, :], mask=here, other=0.0).to(tl.float32)
    factor, slope = tl.full(inputs.shape, 1.0, tl.float32), tl.zeros(inputs.shape, tl.float32)
    if GATED:
        logit = tl.load(gate + t[:, None] * gt + g * gg + e[None, :], mask=here, other=0.0).to(tl.float32)
        open = tl.sigmoid(logit)
        factor, slope = logit * open, open * (1 + logit * (1 - open))
    return inputs, factor, slope


@triton.jit
def forward(x, gate, weight, y, T, E, xt, xg, gt, gg, eps, GATED: tl.constexpr, BT: tl.constexpr, BE: tl.constexpr):
    """y (G, T, E)."""
    t = tl.program_id(0).to(tl.int64) * BT + tl.arange(0, BT)
    g = tl.program_id(1).to(tl.int64)
    e = tl.arange(0, BE)
    here = (t < T)[:, None] & (e < E)[None, :]
    inputs, factor, _ = _gated(x, gate, t, g, e, here, xt, xg, gt, gg, GATED)
    v = inputs * factor
    scale = tl.rsqrt(tl.sum(v * v, 1) / E + eps)
    w = tl.load(weight + g * E + e, mask=e < E, other=0.0).to(tl.float32)
    tl.store(y + (g * T + t)[:, None] * E + e[None, :], v * scale[:, None] * w[None, :], mask=here)


@triton.jit
def backward(
    x, gate, weight, dy, dx, dgate, parts, T, G, E, xt, xg, gt, gg, yt, yg, eps,
    GATED: tl.constexpr, BT: tl.constexpr, BE: tl.constexpr,
):  # fmt: skip
    """dx, dgate (G, T, E); parts (blocks, G, E): what each block of events adds to the gradient of the weight."""
    t = tl.program_id(0).to(tl.int64) * BT + tl.arange(0, BT)
    g = tl.program_id(1).to(tl.int64)
    e = tl.arange(0, BE)
    here = (t < T)[:, None] & (e < E)[None, :]
    inputs, factor, slope = _gated(x, gate, t, g, e, here, xt, xg, gt, gg, GATED)
    v = inputs * factor
    scale = tl.rsqrt(tl.sum(v * v, 1) / E + eps)[:, None]
    w = tl.load(weight + g * E + e, mask=e < E, other=0.0).to(tl.float32)
    gradient = tl.load(dy + t[:, None] * yt + g * yg + e[None, :], mask=here, other=0.0).to(tl.float32)
    normed = v * scale
    part = parts + (tl.program_id(0).to(tl.int64) * G + g) * E + e
    tl.store(part, tl.sum(gradient * normed, 0), mask=e < E)
    gradient *= w[None, :]
    dv = scale * (gradient - normed * (tl.sum(gradient * normed, 1) / E)[:, None])
    at = (g * T + t)[:, None] * E + e[None, :]
    tl.store(dx + at, dv * factor, mask=here)
    if GATED:
        tl.store(dgate + at, dv * inputs * slope, mask=here)
