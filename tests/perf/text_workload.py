"""Rows of text to time dataframe verbs with, made at run time: nothing is stored, nothing is fetched.

The text is that of the standard library's docstrings, so any machine with CPython makes much the same rows. A
byte-level BPE tokenizer is trained on it and saved beside the config of a well-known model, to be loaded with random
weights.
"""

from __future__ import annotations

import ast
import json
import pathlib
import random
import sysconfig
from collections.abc import Iterator

import pandas as pd
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from pagednb.benchmark.shapes import SHAPES, model_folder

VOCAB_SIZE = 30_000
INSTRUCTION_TOKENS = 512
LABELS = ("billing", "technical fault", "delivery", "account and password", "something else")
SCHEMA = {
    "type": "object",
    "properties": {
        "area": {"enum": ["billing", "technical", "delivery", "account", "other"]},
        "mood": {"enum": ["pleased", "neutral", "angry"]},
        "urgency": {"type": "integer", "minimum": 1, "maximum": 5},
        "wants_refund": {"type": "boolean"},
        "product": {"type": "string", "maxLength": 24},
        "gist": {"type": "string", "maxLength": 60},
    },
    "required": ["area", "mood", "urgency", "wants_refund", "product", "gist"],
    "additionalProperties": False,
}
TINY = {
    **SHAPES["qwen3-0.6b"],
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "vocab_size": 30_016,
}
MODELS = (*sorted(SHAPES), "tiny")
_PAD, _BEGIN, _END, *_ROLES = _SPECIAL = ("<pad>", "<begin>", "<end>", "<system>", "<user>", "<assistant>")
_CHAT_TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def prepare_model(name: str, root: pathlib.Path) -> pathlib.Path:
    """Return a folder below ``root`` with a config and a tokenizer, made if it is not there; load it as "dummy"."""
    folder = model_folder(name, root) if name in SHAPES else root / name
    folder.mkdir(parents=True, exist_ok=True)
    if name == "tiny":
        (folder / "config.json").write_text(json.dumps(TINY))
    if not (folder / "tokenizer.json").exists():
        _train_tokenizer(docstrings(root)).save_pretrained(folder)
    return folder


def make_frame(num_rows: int, root: pathlib.Path, *, seed: int, max_chars: int = 900) -> pd.DataFrame:
    """Return rows of ``max_chars`` / 2 to ``max_chars`` characters in the column ``text``; all begin differently."""
    choose, sources = random.Random(seed), docstrings(root)
    return pd.DataFrame({"text": [_row(row, choose, sources, max_chars) for row in range(num_rows)]})


def make_template(tokenizer: PreTrainedTokenizerFast, root: pathlib.Path, task: str) -> str:
    """Return an instruction of ``INSTRUCTION_TOKENS`` tokens, then the field ``{text}``, then ``task``."""
    guide = "Customers write to us. Read this guide first. " + " ".join(docstrings(root)[7:80])
    ids = tokenizer.encode(guide.replace("{", "(").replace("}", ")"), add_special_tokens=False)
    return f"{tokenizer.decode(ids[:INSTRUCTION_TOKENS])}\n\nLetter: {{text}}\n{task}"


def docstrings(root: pathlib.Path) -> list[str]:
    """Return the docstrings of the standard library, each on one line; kept below ``root``."""
    path = root / "docstrings.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(list(_find_docstrings())))
    found: list[str] = json.loads(path.read_text())
    return found


def _find_docstrings() -> Iterator[str]:
    library = pathlib.Path(sysconfig.get_paths()["stdlib"])
    for path in sorted([*library.glob("*.py"), *library.glob("*/*.py")]):
        if path.parent.name in {"site-packages", "test"}:
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
                text = " ".join((ast.get_docstring(node) or "").split())
                if len(text) > 40:
                    yield text


def _row(row: int, choose: random.Random, sources: list[str], max_chars: int) -> str:
    parts, num_chars = [f"No. {choose.randrange(10**6)}:"], 0
    while num_chars < max_chars:
        parts.append(choose.choice(sources))
        num_chars += len(parts[-1]) + 1
    return " ".join(parts)[: choose.randint(max_chars // 2, max_chars)]


def _train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=list(_SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=_BEGIN, eos_token=_END, pad_token=_PAD, extra_special_tokens=list(_ROLES)
    )
    tokenizer.chat_template = _CHAT_TEMPLATE
    return tokenizer
