"""GPU kernels run on a GPU where there is one, else in Triton's interpreter, which computes the same on the CPU.

The interpreter must be chosen before anything imports Triton, and parts of torch do.
"""

import os

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
