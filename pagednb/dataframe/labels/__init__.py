"""Choosing among labels with exact probabilities: for ``classify``, ``filter`` and ``score``."""
