"""Hour of the day and day of the week, of an event and of the request."""

import torch
from torch import Tensor, nn

HOUR, DAY = 3600, 86_400
THURSDAY = 3  # the weekday on which Unix time begins, Monday being 0


class CalendarFeatures(nn.Module):
    """One learned vector an hour and one a weekday, in UTC, of the event's time and of the time of the request."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.hours = nn.Parameter(0.02 * torch.randn(2, 24, d_model))
        self.weekdays = nn.Parameter(0.02 * torch.randn(2, 7, d_model))

    def forward(self, times: Tensor, request_times: Tensor) -> Tensor:
        """(T,) and (T,) int64 seconds -> (T, d), to be added to the item vectors."""
        moments = torch.stack([times, request_times])  # (2, T)
        which = torch.arange(2, device=moments.device).unsqueeze(1)
        hours = torch.remainder(moments, DAY).div(HOUR, rounding_mode="floor")
        weekdays = torch.remainder(moments.div(DAY, rounding_mode="floor") + THURSDAY, 7)
        return (self.hours[which, hours] + self.weekdays[which, weekdays]).sum(0)
