from datetime import UTC, datetime

import torch
from hypothesis import given
from hypothesis import strategies as st

from hydrarec.nn.calendar import CalendarFeatures

MOMENTS = st.integers(-(2**33), 2**33)


@given(MOMENTS, MOMENTS)
def test_hours_and_weekdays_are_those_of_the_calendar(event, request):
    features = CalendarFeatures(1)
    with torch.no_grad():
        features.hours.copy_(torch.tensor([[1.0], [100.0]])[:, :, None] * torch.arange(24)[:, None])
        features.weekdays.copy_(torch.tensor([[1e4], [1e5]])[:, :, None] * torch.arange(7)[:, None])
    at, asked = (datetime.fromtimestamp(moment, UTC) for moment in (event, request))
    expected = at.hour + 100 * asked.hour + 1e4 * at.weekday() + 1e5 * asked.weekday()
    assert features(torch.tensor([event]), torch.tensor([request])).item() == expected
