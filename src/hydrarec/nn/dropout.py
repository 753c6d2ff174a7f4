"""Dropout of rectangles through the kernel, for rivals that are trained."""

from typing import TypeVar

from torch import Tensor, nn

from hydrarec.ops import dropout

M = TypeVar("M", bound=nn.Module)


class QuickDropout(nn.Dropout):
    """``nn.Dropout`` of (..., d) with the mask from the kernel, where there is one."""

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x.flatten(0, -2), self.p, self.training).view_as(x)


def quick_dropout(encoder: M) -> M:
    """Replace every ``nn.Dropout`` inside ``encoder``: torch draws masks so slowly that SASRec's are a third of a step.

    ``hydrarec bench`` leaves it out and measures rivals as torch runs them.
    """
    for module in list(encoder.modules()):
        for name, part in module.named_children():
            if type(part) is nn.Dropout:
                setattr(module, name, QuickDropout(part.p))
    return encoder
