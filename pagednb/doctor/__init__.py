"""What ``pagednb doctor`` looks at: each file looks at one thing and says what it found, and what to do about it."""
