"""Mamba-1's scan inside chunks: a program takes one chunk of one head, its states (Q, E, N) in registers.

Inside a chunk the states come from an associative scan over its Q events (Gu & Dao 2023, section 3.3.2). Padding has
dt = 0: the state stays as it is.
"""

# mypy: ignore-errors
import triton
import triton.language as tl


@triton.jit
def _join(decay1, added1, decay2, added2):
    """The earlier window, then the later one."""
    return decay1 * decay2, decay2 * added1 + added2


@triton.jit
def _events(first, stop, c, Q: tl.constexpr):
    """Events of chunk c, and which of them there are."""
    t = tl.load(first + c) + tl.arange(0, Q)
    return t, t < tl.load(stop + c)


@triton.jit
def _load(v, t, known, g, i, width, vt, vg):
    """(Q, block) of v (T, G, width) at events t, zeros where there are none."""
    at = v + t[:, None] * vt + g * vg + i[None, :]
    return tl.load(at, mask=known[:, None] & (i < width)[None, :], other=0.0).to(tl.float32)


@triton.jit
def _state(v, c, g, e, s, G, E, N):
    """Addresses of (block, N) in v (n, G, E, N), and which of them there are."""
    return v + ((c * G + g) * E + e)[:, None] * N + s[None, :], (e < E)[:, None] & (s < N)[None, :]


@triton.jit
def _rates(A, g, e, s, E, N):
    """(block, N) decay rates of head g."""
    at, there = _state(A, 0, g, e, s, 0, E, N)
    return tl.load(at, mask=there, other=0.0)


@triton.jit
def summaries(
    x, dt, A, B, first, stop, added, total, G, E, N, xt, xg, dt_t, dt_g, Bt, Bg,
    Q: tl.constexpr, BE: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """added (n, G, E, N), what a chunk adds to the state; total (n, G, E), the sum of its steps."""
    c, g = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    e, s = tl.program_id(2) * BE + tl.arange(0, BE), tl.arange(0, BN)
    t, known = _events(first, stop, c, Q)
    step = _load(dt, t, known, g, e, E, dt_t, dt_g)
    inputs = step * _load(x, t, known, g, e, E, xt, xg)
    into = _load(B, t, known, g, s, N, Bt, Bg)
    whole = tl.sum(step, 0)
    remaining = (whole[None, :] - tl.cumsum(step, 0))[:, :, None] * _rates(A, g, e, s, E, N)[None, :, :]
    at, there = _state(added, c, g, e, s, G, E, N)
    tl.store(at, tl.sum(tl.exp(remaining) * inputs[:, :, None] * into[:, None, :], 0), mask=there)
    tl.store(total + (c * G + g) * E + e, whole, mask=e < E)


@triton.jit
def outputs(
    x, dt, A, B, C, first, stop, entering, y, T, G, E, N, xt, xg, dt_t, dt_g, Bt, Bg, Ct, Cg,
    Q: tl.constexpr, BE: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """y (G, T, E)."""
    c, g = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    e, s = tl.program_id(2) * BE + tl.arange(0, BE), tl.arange(0, BN)
    t, known = _events(first, stop, c, Q)
    step = _load(dt, t, known, g, e, E, dt_t, dt_g)
    inputs = step * _load(x, t, known, g, e, E, xt, xg)
    into = _load(B, t, known, g, s, N, Bt, Bg)
    read = _load(C, t, known, g, s, N, Ct, Cg)
    decay = tl.exp(step[:, :, None] * _rates(A, g, e, s, E, N)[None, :, :])
    at, there = _state(entering, c, g, e, s, G, E, N)
    before = tl.load(at, mask=there, other=0.0)
    begins = (tl.arange(0, Q) == 0)[:, None, None]
    added = inputs[:, :, None] * into[:, None, :] + tl.where(begins, decay * before[None, :, :], 0.0)
    _, states = tl.associative_scan((decay, added), 0, _join)
    at = y + (g * T + t)[:, None] * E + e[None, :]
    tl.store(at, tl.sum(states * read[:, None, :], 2), mask=known[:, None] & (e < E)[None, :])


@triton.jit
def pullbacks(
    dt, A, C, dy, first, stop, dentering, G, E, N, dt_t, dt_g, Ct, Cg, yt, yg,
    Q: tl.constexpr, BE: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """dentering (n, G, E, N): gradient of the state before a chunk, from the chunk's outputs alone."""
    c, g = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    e, s = tl.program_id(2) * BE + tl.arange(0, BE), tl.arange(0, BN)
    t, known = _events(first, stop, c, Q)
    step = _load(dt, t, known, g, e, E, dt_t, dt_g)
    read = _load(C, t, known, g, s, N, Ct, Cg)
    gradient = _load(dy, t, known, g, e, E, yt, yg)
    decay = tl.exp(tl.cumsum(step, 0)[:, :, None] * _rates(A, g, e, s, E, N)[None, :, :])
    at, there = _state(dentering, c, g, e, s, G, E, N)
    tl.store(at, tl.sum(decay * gradient[:, :, None] * read[:, None, :], 0), mask=there)


@triton.jit
def gradients(
    x, dt, A, B, C, first, stop, entering, leaving, dy, dx, ddt, dA, dB, dC,
    T, G, E, N, xt, xg, dt_t, dt_g, Bt, Bg, Ct, Cg, yt, yg,
    Q: tl.constexpr, BE: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Everything else, the states computed again: dx, ddt (G, T, E), dB, dC (G, T, N), dA (n, G, E, N) a chunk.

    leaving (n, G, E, N) is the gradient of the state after each chunk.
    """
    c, g = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    s, q = tl.arange(0, BN), tl.arange(0, Q)
    t, known = _events(first, stop, c, Q)
    event_before = known & (q > 0)
    # From the last place of the chunk to the first. associative_scan has a parameter for that, but is reported to be
    # wrong then on GPUs (triton issue 4362): the events are loaded in reverse instead, and the result is flipped.
    back = tl.load(first + c) + Q - 1 - q
    known_back, event_after = back < tl.load(stop + c), (q > 0) & (back + 1 < tl.load(stop + c))
    read_back = _load(C, back, known_back, g, s, N, Ct, Cg)
    into = _load(B, t, known, g, s, N, Bt, Bg)
    into_before = _load(B, t - 1, event_before, g, s, N, Bt, Bg)
    d_into, d_read = tl.zeros((Q, BN), tl.float32), tl.zeros((Q, BN), tl.float32)
    for block in range(0, tl.cdiv(E, BE)):
        e = block * BE + tl.arange(0, BE)
        rates = _rates(A, g, e, s, E, N)
        step = _load(dt, t, known, g, e, E, dt_t, dt_g)
        values = _load(x, t, known, g, e, E, xt, xg)
        gradient = _load(dy, t, known, g, e, E, yt, yg)
        decay = tl.exp(step[:, :, None] * rates[None, :, :])

        # The state before each event: the scan of what happened one event earlier.
        step_before = _load(dt, t - 1, event_before, g, e, E, dt_t, dt_g)
        inputs_before = step_before * _load(x, t - 1, event_before, g, e, E, xt, xg)
        at, there = _state(entering, c, g, e, s, G, E, N)
        initial = tl.load(at, mask=there, other=0.0)
        added = inputs_before[:, :, None] * into_before[:, None, :]
        added = tl.where((q == 0)[:, None, None], initial[None, :, :], added)
        _, before = tl.associative_scan((tl.exp(step_before[:, :, None] * rates[None, :, :]), added), 0, _join)
        states = decay * before + (step * values)[:, :, None] * into[:, None, :]

        # The gradient of the state after each event, from the chunk's end on.
        step_after = _load(dt, back + 1, event_after, g, e, E, dt_t, dt_g)
        own = _load(dy, back, known_back, g, e, E, yt, yg)[:, :, None] * read_back[:, None, :]
        at, there = _state(leaving, c, g, e, s, G, E, N)
        last = tl.load(at, mask=there, other=0.0)
        own += tl.where((q == 0)[:, None, None], last[None, :, :], 0.0)
        decay_after = tl.exp(step_after[:, :, None] * rates[None, :, :])
        _, d_back = tl.associative_scan((decay_after, own), 0, _join)
        d_states = tl.flip(d_back, 0)

        d_into += tl.sum(d_states * (step * values)[:, :, None], 1)
        d_read += tl.sum(states * gradient[:, :, None], 1)
        d_inputs = tl.sum(d_states * into[:, None, :], 2)
        d_exponent = d_states * before * decay
        here = known[:, None] & (e < E)[None, :]
        place = (g * T + t)[:, None] * E + e[None, :]
        tl.store(dx + place, d_inputs * step, mask=here)
        tl.store(ddt + place, tl.sum(d_exponent * rates[None, :, :], 2) + d_inputs * values, mask=here)
        at, there = _state(dA, c, g, e, s, G, E, N)
        tl.store(at, tl.sum(d_exponent * step[:, :, None], 0), mask=there)
    here = known[:, None] & (s < N)[None, :]
    place = (g * T + t)[:, None] * N + s[None, :]
    tl.store(dB + place, d_into, mask=here)
    tl.store(dC + place, d_read, mask=here)
