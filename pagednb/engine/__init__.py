"""From prompts to outputs: the engine thread and what stands on either side of it."""
