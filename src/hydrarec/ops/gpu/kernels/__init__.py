"""Triton's side of the operations: what runs on the GPU. Imported when a kernel starts, never before.

Every kernel computes in float32 whatever it loads and stores, and takes one block of events and one head a program.
"""
