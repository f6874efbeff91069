"""How rows run: what a row asks, the loop that feeds the engine, progress, jobs in the background."""
