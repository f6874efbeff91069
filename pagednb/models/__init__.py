"""Decoder specs, one decoder driven by them, and the loading of weights."""
