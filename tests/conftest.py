"""What all tests run under.

GPU kernels run on a GPU where there is one, else in Triton's interpreter, which computes the same on the CPU. It must
be chosen before anything imports Triton, and parts of torch do. Properties have no deadline: a timing is never a test.
"""

import os

import torch
from hypothesis import settings

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
