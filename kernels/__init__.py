"""Triton kernels, one operation a file, each beside a torch reference of the same signature."""
