"""Sampled softmax with logQ correction."""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from hydrarec.losses.chunks import mean_over_events


def sampled_softmax(
    hidden: Tensor,
    catalog: Tensor,
    targets: Tensor,
    negatives: Tensor,
    log_expected: Tensor | None,
    scale: float = 1.0,
    chunk_events: int = 2048,
) -> Tensor:
    """Mean cross-entropy of each target against itself and the shared negatives.

    A negative's exp(logit) is divided by its expected number of draws (importance sampling as in Bengio and
    Senecal 2008) and negatives equal to the target are left out, so that their sum is an unbiased estimate of
    the full softmax's sum over all other items. The target is always there and therefore not corrected.

    Args:
        hidden: (T, d) hidden states.
        catalog: (V, d) item vectors.
        targets: (T,) int64, rows of ``catalog``.
        negatives: (N,) int64, rows of ``catalog``, from a ``Sampler``.
        log_expected: (N,) from the same; None trains without the correction.
        scale: 1 / temperature.
        chunk_events: at most ``chunk_events * N`` logits exist at any time.

    Returns:
        () the mean over the T events, 0 for none.
    """
    correction = 0.0 if log_expected is None else log_expected

    def per_event(x: Tensor, positive: Tensor, against: Tensor, hits: Tensor) -> Tensor:
        # Finite, so that loss and gradient are 0 and not NaN where every negative is the target.
        logits = (x @ against.T - correction).masked_fill(hits, torch.finfo(x.dtype).min)  # (n, N)
        return softplus(logits.logsumexp(1) - (x * positive).sum(1))

    return mean_over_events(per_event, hidden, catalog, targets, negatives, scale, chunk_events)
