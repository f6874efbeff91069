"""The parts of a decoder: linear, norm, rotary, embedding. They see tensors only."""
