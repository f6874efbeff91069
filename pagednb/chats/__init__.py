"""Conversations with the engine of this process, one answer at a time, and what a notebook shows of them."""
