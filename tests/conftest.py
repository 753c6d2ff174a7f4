"""What all tests run under.

Random numbers of a test do not depend on which tests came before it in the same process.

GPU kernels run on a GPU where there is one, else in Triton's interpreter, which computes the same on the CPU. It must
be chosen before anything imports Triton, and parts of torch do. Properties have no deadline: a timing is never a test.
"""

import os

import pytest
import torch
from hypothesis import settings

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def same_random_numbers():
    torch.manual_seed(0)
