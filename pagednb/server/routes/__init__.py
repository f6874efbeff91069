"""One file a family of endpoints: each parses, asks the desk, and answers."""
