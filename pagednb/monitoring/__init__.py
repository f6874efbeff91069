"""Looks at the engine while it works: the live monitor, films of a run, and pictures of the KV blocks."""
