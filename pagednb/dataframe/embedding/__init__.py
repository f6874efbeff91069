"""What ``embed`` asks of the engine, and how vectors become a column."""
