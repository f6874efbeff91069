"""What ``generate`` asks of the engine, and what its answers mean."""
