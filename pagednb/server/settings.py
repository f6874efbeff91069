"""What a server is told once: names, keys and limits. Frozen; the routes and the desk read it."""

from __future__ import annotations

import dataclasses

from pagednb.checks import is_finite, is_whole, require

_LIMITS = ("max_body_bytes", "max_n", "max_prompts", "max_sequences")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Settings of one server.

    Args:
        served_model_names: Names that clients may ask for; the first is the one that answers carry.
        api_key: Without it, sent as ``Authorization: Bearer KEY``, only health, version and metrics answer.
        allowed_origins: Web pages that may call the server from a browser, such as "http://localhost:3000"; "*" is all.
        max_body_bytes: Size of a request at most.
        max_n: Answers to one prompt at most.
        max_prompts: Prompts in one request at most.
        max_sequences: Sequences under way at most, those that wait included; what comes on top gets status 429.
        write_timeout_s: A client that reads nothing for so long is given up.
        tool_format: How the model writes tool calls: "hermes", "llama3_json" or "mistral"; None reads it from the
            chat template.

    Raises:
        OptionError: a value out of range.
    """

    served_model_names: tuple[str, ...]
    api_key: str | None = None
    allowed_origins: tuple[str, ...] = ()
    max_body_bytes: int = 16 * 2**20
    max_n: int = 128
    max_prompts: int = 4096
    max_sequences: int = 8192
    write_timeout_s: float = 120.0
    tool_format: str | None = None

    def __post_init__(self) -> None:
        names = self.served_model_names
        are_texts = len(names) > 0 and all(isinstance(name, str) and name for name in names)
        require(are_texts, "Option served_model_name", list(names), "one name or several, none of them empty")
        are_texts = all(isinstance(origin, str) and origin for origin in self.allowed_origins)
        require(are_texts, "Option allowed_origins", list(self.allowed_origins), "a list of web addresses")
        is_key = self.api_key is None or (isinstance(self.api_key, str) and self.api_key.strip() != "")
        require(is_key, "Option api_key", "..." if self.api_key else self.api_key, "a text that is not empty")
        for name in _LIMITS:
            value = getattr(self, name)
            require(is_whole(value) and value >= 1, f"Option {name}", value, "a whole number of at least 1")
        timeout_s = self.write_timeout_s
        require(is_finite(timeout_s) and timeout_s > 0, "Option write_timeout_s", timeout_s, "above 0")
        formats = (None, "hermes", "llama3_json", "mistral")
        require(self.tool_format in formats, "Option tool_format", self.tool_format, f"one of {formats}")
