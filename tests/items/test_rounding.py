import pytest
import torch

from hydrarec.items.rounding import to_half, to_int8


@pytest.mark.parametrize(("dtype", "fraction"), [(torch.float16, 10), (torch.bfloat16, 7)])
def test_halves_are_neighbours_and_right_on_average(dtype, fraction):
    torch.manual_seed(0)
    numbers = torch.tensor([1.0, -1.0, 0.3, -0.02, 1e-4, 7.77, 0.0, 60_000.0])
    drawn = to_half(numbers.repeat(20_000, 1), dtype)
    assert drawn.dtype == dtype
    distance = (drawn.double() - numbers.double()).abs() / numbers.abs().clamp(min=1e-30)
    assert distance.max() <= 2.0**-fraction
    mean = drawn.double().mean(0)
    off = (mean - numbers).abs() / numbers.abs().clamp(min=1e-30)
    assert off.max() < 2.0**-fraction / 40  # five deviations of a mean of 20,000
    assert all(len(column.unique()) <= 2 for column in drawn.double().T)


def test_numbers_that_a_half_holds_stay():
    for dtype in (torch.float16, torch.bfloat16):
        numbers = torch.randn(1000).to(dtype)
        assert torch.equal(to_half(numbers.float(), dtype), numbers)


def test_too_large_for_a_half():
    assert to_half(torch.tensor([1e9, -1e9, 65_504.0]), torch.float16).tolist() == [65_504, -65_504, 65_504]


def test_int8_rows_have_their_own_scale_and_are_right_on_average():
    torch.manual_seed(0)
    rows = torch.tensor([[1.0, -0.5, 0.1234], [0.001, 0.0003, -0.001], [0.0, 0.0, 0.0]])
    codes, scale = to_int8(rows.repeat(20_000, 1))
    found = (codes.float() * scale[:, None]).view(20_000, 3, 3)
    assert scale[:3].tolist() == pytest.approx([1 / 127, 0.001 / 127, 0])
    assert ((found - rows).abs() <= scale[:3, None] * 1.0001).all()
    assert ((found.mean(0) - rows).abs() <= scale[:3, None] / 40).all()
    assert found[:, 0, 0].unique().tolist() == pytest.approx([1.0])  # the largest of a row is exact
