"""Floating-point operations of the Mamba-2 scan's kernel, counted by hand; a fused multiply-add is two.

What a call executes for each event and head, with E channels, N states:

* the recurrences: 4 a cell (channel and state), h += (dt x) B and y += h C. The backward has three of them: the states
  again and dC, their gradient and dx, the same transposed and dB. 4 E N, and 12 E N.
* the decay: 20 for exp(dt A) (its argument, the remainder, a polynomial of degree 6), 3 for its scale, the inverse, and
  the step in it.
* vectors that go into a recurrence and come out of it, scaled: 2 E forward. Backward 2 E for dx and 2 N each for dB and
  dC, and what ties the three together: 2 E each for dx . x and dy . x, E for dt dx, 4 N for the gradient of the decay,
  4 N for what an event gives itself.
"""

_DECAY = 23


def scan_forward_flops(heads: int, inner: int, d_state: int) -> int:
    """Of one event; see above."""
    return heads * (4 * inner * d_state + 2 * inner + _DECAY)


def scan_backward_flops(heads: int, inner: int, d_state: int) -> int:
    """Of one event; see above."""
    return heads * (12 * inner * d_state + 7 * inner + 12 * d_state + _DECAY)
