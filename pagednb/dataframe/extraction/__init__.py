"""Answers of a schema: what they mean, how a prompt names them, which columns they become. For ``extract``."""
