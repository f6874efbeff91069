"""What a user can paste to try a server. A key is named, never shown: notebooks are shared."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pagednb.server.settings import ServerSettings

_KEY_VARIABLE = "PAGEDNB_API_KEY"


def curl_snippet(url: str, settings: ServerSettings) -> str:
    """Return a shell command that asks for one completion."""
    key = f' \\\n  -H "Authorization: Bearer ${_KEY_VARIABLE}"' if settings.api_key else ""
    model = settings.served_model_names[0]
    body = f'{{"model": "{model}", "prompt": "Hello", "max_tokens": 20}}'
    return f"curl {url}/v1/completions -H 'Content-Type: application/json'{key} \\\n  -d '{body}'"


def python_snippet(url: str, settings: ServerSettings) -> str:
    """Return Python for the package ``openai``."""
    key = f'os.environ["{_KEY_VARIABLE}"]' if settings.api_key else '"none"'
    lines = [
        *(["import os"] if settings.api_key else []),
        "from openai import OpenAI",
        f'client = OpenAI(base_url="{url}/v1", api_key={key})',
        f'client.completions.create(model="{settings.served_model_names[0]}", prompt="Hello").choices[0].text',
    ]
    return "\n".join(lines)
