"""What outlives a run: answers in caches and checkpoints. Knows answers only, no verbs and no rows."""
