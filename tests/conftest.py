"""What all tests run under.

Random numbers of a test do not depend on which tests came before it in the same process.

GPU kernels run on a GPU where there is one, else in Triton's interpreter, which computes the same on the CPU. It must
be chosen before anything imports Triton, and parts of torch do. Properties have no deadline: a timing is never a test.
Their examples are the same in every run, so that no change is blamed for what chance has found; with
HYDRAREC_TEST_RANDOM=1 they are others each time.
"""

import os

import pytest
import torch
from hypothesis import settings

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
settings.register_profile("patient", deadline=None, derandomize="HYDRAREC_TEST_RANDOM" not in os.environ)
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def same_random_numbers():
    torch.manual_seed(0)
