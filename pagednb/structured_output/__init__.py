"""Structured output: what an answer must look like, from Python types to masks over the vocabulary."""
