"""Generalised binary cross-entropy (Petrov and Macdonald, gSASRec, RecSys 2023)."""

from torch import Tensor
from torch.nn.functional import logsigmoid

from hydrarec.losses.chunks import mean_over_events


def gbce(
    hidden: Tensor,
    catalog: Tensor,
    targets: Tensor,
    negatives: Tensor,
    log_expected: Tensor | None,
    scale: float = 1.0,
    calibration: float = 0.75,
    chunk_events: int = 2048,
    *,
    n_items: int | None = None,
) -> Tensor:
    """Mean binary cross-entropy with the target's probability raised to beta.

    With the sampling rate alpha (expected draws of an item) and calibration t, beta = 1 - t (1 - alpha): the
    paper's alpha (t (1 - 1 / alpha) + 1 / alpha). At the minimum an item of probability p has odds
    beta p / (alpha (1 - p)): with t = 1 the sigmoid of its score is p itself, with t = 0 (plain BCE) it is
    overconfident. Here alpha = N / V: the negatives are drawn from all V items, and those equal to the target
    are left out.

    Args:
        hidden: (T, d) hidden states.
        catalog: (V, d) item vectors, or those of the items that occur here.
        targets: (T,) int64, rows of ``catalog``.
        negatives: (N,) int64, rows of ``catalog``, from a ``Sampler``.
        log_expected: (N,) from the same: weighs each negative as if it had been drawn uniformly, which the
            calibration presumes; None leaves them as drawn.
        scale: 1 / temperature.
        calibration: t in 0 to 1.
        chunk_events: at most ``chunk_events * N`` logits exist at any time.
        n_items: V, where ``catalog`` holds fewer.

    Returns:
        () the mean over the T events of the sum over target and negatives, divided by N + 1; 0 for no events.
    """
    n = len(negatives)
    alpha = n / (n_items or len(catalog))
    beta = 1 - calibration * (1 - alpha)
    weight = 1.0 if log_expected is None else alpha * (-log_expected).exp()

    def per_event(x: Tensor, positive: Tensor, against: Tensor, hits: Tensor) -> Tensor:
        kept = (logsigmoid(-(x @ against.T)) * weight).masked_fill(hits, 0.0).sum(1)  # (n, N) -> (n,)
        return -(beta * logsigmoid((x * positive).sum(1)) + kept) / (n + 1)

    return mean_over_events(per_event, hidden, catalog, targets, negatives, scale, chunk_events)
