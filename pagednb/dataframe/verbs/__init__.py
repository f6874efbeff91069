"""The verbs, one a file: options checked, then a run."""
