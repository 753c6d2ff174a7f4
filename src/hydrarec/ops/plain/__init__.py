"""The layer's operators in plain PyTorch with gradients by hand, for machines without a C++ compiler."""
