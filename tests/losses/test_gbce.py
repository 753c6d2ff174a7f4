import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from hydrarec.losses.gbce import gbce
from hydrarec.losses.softmax import full_softmax

COUNTS = torch.tensor([400, 250, 150, 80, 50, 40, 20, 10])
P = COUNTS.double() / COUNTS.sum()
TARGETS = torch.repeat_interleave(torch.arange(8), COUNTS)  # 1,000 events of one categorical
HIDDEN = torch.ones(1000, 1, dtype=torch.float64)  # so that an item's vector (8, 1) is its score


def minimise(objective) -> Tensor:
    """The scores (8,) at which ``objective`` of vectors (8, 1) is least."""
    vectors = torch.zeros(8, 1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [vectors], max_iter=400, tolerance_grad=1e-10, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = objective(vectors)
        value.backward()
        return value

    optimiser.step(closure)
    return vectors.detach()[:, 0]


def expected_gbce(vectors: Tensor, negatives: int, calibration: float, proposal: Tensor) -> Tensor:
    """The mean over all draws of ``negatives`` items: by linearity the mean over each item repeated."""
    total = torch.zeros((), dtype=torch.float64)
    for item, q in enumerate(proposal):
        draws = torch.full((negatives,), item)
        total += q * gbce(
            HIDDEN, vectors, TARGETS, draws, (negatives * q).log(), calibration=calibration, chunk_events=300
        )
    return total


@pytest.mark.parametrize(("calibration", "negatives"), [(1.0, 3), (0.75, 3), (0.0, 3), (1.0, 12)])
@pytest.mark.parametrize("proposal", ["uniform", "skewed"])
def test_the_minimum_is_where_the_paper_proves_it(calibration, negatives, proposal):
    q = torch.full((8,), 1 / 8, dtype=torch.float64) if proposal == "uniform" else P**0.5 / (P**0.5).sum()
    scores = minimise(lambda vectors: expected_gbce(vectors, negatives, calibration, q))
    alpha = negatives / 8
    beta = 1 - calibration * (1 - alpha)
    torch.testing.assert_close(scores.exp(), beta * P / (alpha * (1 - P)), rtol=1e-4, atol=1e-6)
    assert scores.argsort(descending=True).tolist() == list(range(8))


def test_calibrated_it_finds_the_probabilities_of_the_full_softmax():
    uniform = torch.full((8,), 1 / 8, dtype=torch.float64)
    by_softmax = minimise(lambda vectors: full_softmax(HIDDEN, vectors, TARGETS)).softmax(0)
    by_gbce = minimise(lambda vectors: expected_gbce(vectors, 2, 1.0, uniform)).sigmoid()
    torch.testing.assert_close(by_gbce, by_softmax, rtol=1e-4, atol=1e-6)
    by_bce = minimise(lambda vectors: expected_gbce(vectors, 2, 0.0, uniform)).sigmoid()
    assert (by_bce > 1.5 * P).all()  # plain BCE with negative sampling is overconfident


def test_uncalibrated_it_is_binary_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    hidden, catalog = torch.randn(5, 3, generator=generator), torch.randn(9, 3, generator=generator)
    targets, negatives = torch.arange(5), torch.tensor([6, 7, 8, 8])
    rows = torch.cat([targets[:, None], negatives.expand(5, 4)], 1)
    logits = 2.5 * (hidden[:, None] * catalog[rows]).sum(2)  # (5, 5)
    labels = torch.zeros(5, 5)
    labels[:, 0] = 1
    got = gbce(hidden, catalog, targets, negatives, None, 2.5, calibration=0.0)
    torch.testing.assert_close(got, binary_cross_entropy_with_logits(logits, labels))
