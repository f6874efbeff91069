"""Labels against gold labels, in numbers and in pictures."""
