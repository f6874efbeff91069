"""Runs plans on a device: GPU-resident request rows, forward batches, memory."""
