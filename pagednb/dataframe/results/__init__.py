"""What a run gives: figures, values by row, records, columns of pandas. Knows nothing of how rows run."""
