"""Causal depthwise convolution + SiLU over packed histories.

A user's row is [state, history]: the K-1 inputs before the first event lie at positions -(K-1) to -1. Everything is
said in positions of the row: y_p reads the row at p-K+1 to p, the new state is the last K-1 of it, and the gradient of
the input at p, be it event or state, comes from y_p to y_{p+K-1}.
"""

# mypy: ignore-errors
import triton
import triton.language as tl


@triton.jit
def _row(x, state, user, begin, length, position, here, g, f, G, F, xt, xg, K: tl.constexpr):
    """(BT, BF) inputs at ``position`` of the rows, zeros where ``here`` is false or the row has ended."""
    event = here & (position >= 0) & (position < length)
    before = here & (position < 0)
    channel = (f < F)[None, :]
    at = x + (begin + position)[:, None] * xt + g * xg + f[None, :]
    inputs = tl.load(at, mask=event[:, None] & channel, other=0.0).to(tl.float32)
    at = state + ((user * (K - 1) + position + K - 1)[:, None] * G + g) * F + f[None, :]
    return inputs + tl.load(at, mask=before[:, None] & channel, other=0.0).to(tl.float32)


@triton.jit
def _tap(weight, back, g, f, F, K: tl.constexpr):
    """(BF,) weight of the input ``back`` events ago."""
    return tl.load(weight + (g * F + f) * K + (K - 1 - back), mask=f < F, other=0.0).to(tl.float32)


@triton.jit
def _convolved(x, weight, bias, state, user, begin, length, position, here, g, f, G, F, xt, xg, K: tl.constexpr):
    """(BT, BF) convolution at ``position``, before SiLU."""
    total = tl.load(bias + g * F + f, mask=f < F, other=0.0).to(tl.float32)[None, :]
    for back in tl.static_range(K):
        inputs = _row(x, state, user, begin, length, position - back, here, g, f, G, F, xt, xg, K)
        total += _tap(weight, back, g, f, F, K)[None, :] * inputs
    return total


@triton.jit
def _history(offsets, user, here):
    begin = tl.load(offsets + user, mask=here, other=0)
    return begin, tl.load(offsets + user + 1, mask=here, other=0) - begin


@triton.jit
def forward(
    x, weight, bias, state, offsets, users, y, T, G, F, xt, xg,
    K: tl.constexpr, BT: tl.constexpr, BF: tl.constexpr,
):  # fmt: skip
    """y (G, T, F)."""
    t = tl.program_id(0).to(tl.int64) * BT + tl.arange(0, BT)
    g = tl.program_id(1).to(tl.int64)
    f = tl.program_id(2) * BF + tl.arange(0, BF)
    here = t < T
    user = tl.load(users + t, mask=here, other=0)
    begin, length = _history(offsets, user, here)
    total = _convolved(x, weight, bias, state, user, begin, length, t - begin, here, g, f, G, F, xt, xg, K)
    at = y + (g * T + t)[:, None] * F + f[None, :]
    tl.store(at, total * tl.sigmoid(total), mask=here[:, None] & (f < F)[None, :])


@triton.jit
def new_state(x, state, offsets, after, U, G, F, xt, xg, K: tl.constexpr, BT: tl.constexpr, BF: tl.constexpr):
    """after (U, K-1, G, F): the end of every row."""
    r = tl.program_id(0).to(tl.int64) * BT + tl.arange(0, BT)
    g = tl.program_id(1).to(tl.int64)
    f = tl.program_id(2) * BF + tl.arange(0, BF)
    here = r < U * (K - 1)
    user = r // (K - 1)
    begin, length = _history(offsets, user, here)
    position = length - (K - 1) + r % (K - 1)
    inputs = _row(x, state, user, begin, length, position, here, g, f, G, F, xt, xg, K)
    tl.store(after + (r[:, None] * G + g) * F + f[None, :], inputs, mask=here[:, None] & (f < F)[None, :])


@triton.jit
def backward(
    x, weight, bias, state, offsets, users, dy, inner, parts, T, G, F, xt, xg, yt, yg,
    K: tl.constexpr, STEPS: tl.constexpr, BT: tl.constexpr, BF: tl.constexpr,
):  # fmt: skip
    """inner (G, T, F): gradient before SiLU; parts (blocks, G, K+1, F): a block's share of that of weight and bias."""
    g = tl.program_id(1).to(tl.int64)
    f = tl.program_id(2) * BF + tl.arange(0, BF)
    k = tl.arange(0, 8)[:, None]
    sums = tl.zeros((8, BF), tl.float32)
    for step in range(STEPS):
        t = (tl.program_id(0).to(tl.int64) * STEPS + step) * BT + tl.arange(0, BT)
        here = t < T
        user = tl.load(users + t, mask=here, other=0)
        begin, length = _history(offsets, user, here)
        position = t - begin
        total = _convolved(x, weight, bias, state, user, begin, length, position, here, g, f, G, F, xt, xg, K)
        open = tl.sigmoid(total)
        there = here[:, None] & (f < F)[None, :]
        gradient = tl.load(dy + t[:, None] * yt + g * yg + f[None, :], mask=there, other=0.0).to(tl.float32)
        gradient *= open * (1 + total * (1 - open))
        tl.store(inner + (g * T + t)[:, None] * F + f[None, :], gradient, mask=there)
        for back in tl.static_range(K):
            inputs = _row(x, state, user, begin, length, position - back, here, g, f, G, F, xt, xg, K)
            sums += tl.where(k == K - 1 - back, tl.sum(gradient * inputs, 0)[None, :], 0.0)
        sums += tl.where(k == K, tl.sum(gradient, 0)[None, :], 0.0)
    part = parts + ((tl.program_id(0).to(tl.int64) * G + g) * (K + 1) + k) * F + f[None, :]
    tl.store(part, sums, mask=(k <= K) & (f < F)[None, :])


@triton.jit
def _gathered(inner, weight, dafter, user, begin, length, position, here, g, f, T, G, F, K: tl.constexpr):
    """(BT, BF) gradient of the inputs at ``position`` of the rows, through the outputs and the new state."""
    place = position - (length - (K - 1))  # in the new state
    at = dafter + ((user * (K - 1) + place)[:, None] * G + g) * F + f[None, :]
    total = tl.load(at, mask=(here & (place >= 0))[:, None] & (f < F)[None, :], other=0.0).to(tl.float32)
    for back in tl.static_range(K):
        event = here & (position + back >= 0) & (position + back < length)
        at = inner + (g * T + begin + position + back)[:, None] * F + f[None, :]
        later = tl.load(at, mask=event[:, None] & (f < F)[None, :], other=0.0)
        total += _tap(weight, back, g, f, F, K)[None, :] * later
    return total


@triton.jit
def backward_inputs(
    inner, weight, offsets, users, dafter, dx, T, G, F, K: tl.constexpr, BT: tl.constexpr, BF: tl.constexpr
):
    """dx (G, T, F)."""
    t = tl.program_id(0).to(tl.int64) * BT + tl.arange(0, BT)
    g = tl.program_id(1).to(tl.int64)
    f = tl.program_id(2) * BF + tl.arange(0, BF)
    here = t < T
    user = tl.load(users + t, mask=here, other=0)
    begin, length = _history(offsets, user, here)
    total = _gathered(inner, weight, dafter, user, begin, length, t - begin, here, g, f, T, G, F, K)
    tl.store(dx + (g * T + t)[:, None] * F + f[None, :], total, mask=here[:, None] & (f < F)[None, :])


@triton.jit
def backward_state(
    inner, weight, offsets, dafter, dstate, T, U, G, F, K: tl.constexpr, BT: tl.constexpr, BF: tl.constexpr
):
    """dstate (U, K-1, G, F)."""
    r = tl.program_id(0).to(tl.int64) * BT + tl.arange(0, BT)
    g = tl.program_id(1).to(tl.int64)
    f = tl.program_id(2) * BF + tl.arange(0, BF)
    here = r < U * (K - 1)
    user = r // (K - 1)
    begin, length = _history(offsets, user, here)
    position = r % (K - 1) - (K - 1)
    total = _gathered(inner, weight, dafter, user, begin, length, position, here, g, f, T, G, F, K)
    tl.store(dstate + (r[:, None] * G + g) * F + f[None, :], total, mask=here[:, None] & (f < F)[None, :])
