"""Inner products laid out for few queries are those of float64."""

import pytest
import torch
from support import close

from hydrarec.retrieve import products
from hydrarec.retrieve.products import Products


@pytest.mark.parametrize("queries", [1, 2, 3, 17, 64])
@pytest.mark.parametrize(("n", "d"), [(1, 1), (2, 64), (63, 7), (1000, 64), (4099, 33)])
def test_products(queries, n, d):
    torch.manual_seed(n + queries)
    vectors, asked = torch.randn(n, d), torch.randn(queries, d)
    with torch.inference_mode():
        close(Products(vectors)(asked), asked.double() @ vectors.double().T, 1e-5)


def test_a_torch_without_such_a_layout(monkeypatch):
    def refuse(*_):
        raise RuntimeError

    vectors, asked = torch.randn(50, 8), torch.randn(4, 8)
    monkeypatch.setattr(products, "_linear", refuse)
    close(Products(vectors)(asked), asked @ vectors.T, 1e-6)
    monkeypatch.undo()
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    close(Products(vectors)(asked), asked @ vectors.T, 1e-6)
