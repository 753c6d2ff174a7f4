import torch
from support import close

from hydrarec.items.adapters import DomainAdapters


def test_each_vector_goes_through_the_map_of_its_domain():
    torch.manual_seed(0)
    adapters = DomainAdapters(3, 4, 2)
    vectors, domains = torch.randn(6, 4), torch.tensor([2, 0, 2, 1, 0, 2])
    assert torch.equal(adapters(vectors, domains), vectors)  # nothing at the start
    with torch.no_grad():
        adapters.up.normal_()
    for i, domain in enumerate(domains.tolist()):
        inner = torch.nn.functional.gelu(adapters.down[domain] @ vectors[i])
        close(adapters(vectors, domains)[i], vectors[i] + adapters.up[domain] @ inner, 1e-6)


def test_a_domain_that_is_not_there_learns_nothing():
    adapters = DomainAdapters(2, 4, 2)
    adapters(torch.randn(3, 4), torch.ones(3, dtype=torch.long)).square().sum().backward()
    assert not adapters.up.grad[0].any()
    assert adapters.up.grad[1].any()
