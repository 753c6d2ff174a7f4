import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import offsets_of, ragged

from hydrarec.nn.rope import positions_of, rotate

places = st.integers(0, 2000)


def vectors(n=1, seed=0):
    return torch.randn(n, 2, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(position=places)
@settings(max_examples=20)
def test_norms_are_kept(position):
    z = vectors(5)
    turned = rotate(z, torch.full((5,), position))
    torch.testing.assert_close(turned.norm(dim=2), z.norm(dim=2))


@given(p=places, q=places, shift=places)
@settings(max_examples=20)
def test_products_depend_on_the_distance_alone(p, q, shift):
    a, b = vectors(seed=1), vectors(seed=2)

    def product(p, q):
        return (rotate(a, torch.tensor([p])) * rotate(b, torch.tensor([q]))).sum(2)

    torch.testing.assert_close(product(p, q), product(p + shift, q + shift))


def test_known_answers():
    z = torch.tensor([[[1.0, 0.0, 0.0, 2.0]]])  # pairs (1, 0) and (0, 2), c = 4
    assert torch.equal(rotate(z, torch.tensor([0])), z)
    one, slow = torch.tensor(1.0), torch.tensor(0.01)  # frequencies 1 and 10000 ** (-1/2)
    expected = torch.stack([one.cos(), -2 * slow.sin(), one.sin(), 2 * slow.cos()])
    torch.testing.assert_close(rotate(z, torch.tensor([1]))[0, 0], expected)


def test_half_precision_knows_far_positions():
    z, positions = vectors(50), torch.arange(1000, 1050)
    half = rotate(z.bfloat16(), positions)
    assert (half - rotate(z, positions)).abs().max() < 0.05


@given(lengths=ragged(30), period=st.integers(1, 20), seed=st.integers(0, 99))
@settings(max_examples=30)
def test_positions_count_on_from_the_start_and_repeat(lengths, period, seed):
    start = torch.randint(100, (len(lengths),), generator=torch.Generator().manual_seed(seed))
    got = positions_of(offsets_of(lengths), start, period)
    expected = [(s + t) % period for s, length in zip(start.tolist(), lengths, strict=True) for t in range(length)]
    assert got.tolist() == expected
    assert torch.equal(got, positions_of(offsets_of(lengths), start + period, period))
