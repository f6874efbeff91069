"""Continuous batching: which tokens run in the next step. No torch."""
