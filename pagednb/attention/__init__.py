"""Attention backends: which kernels run for a batch of decodes and prefill chunks."""
