"""The embedded model's tokenizer: a byte-level BPE trained on our own text, and its chat template.

The two files are written as plain JSON, so they read the same in every version of transformers.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pagednb.embedded_model.tasks import Turn

if TYPE_CHECKING:
    from tokenizers import Tokenizer

VOCAB_SIZE = 4096
MAX_POSITIONS = 2048
END_OF_TEXT, END_OF_TURN, PAD = "<|endoftext|>", "<|end|>", "<|pad|>"
ROLES = ("system", "user", "assistant")
SPECIAL_TOKENS = (END_OF_TEXT, END_OF_TURN, PAD, *(f"<|{role}|>" for role in ROLES))
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] not in ['system', 'user', 'assistant'] -%}"
    "{{- raise_exception('Unknown role ' + message['role'] + ': use system, user or assistant.') -}}"
    "{%- endif -%}"
    "{{- '<|' + message['role'] + '|>' + message['content'] + '<|end|>' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)


def render_chat(messages: Sequence[Turn], *, add_generation_prompt: bool = False) -> str:
    """Return what the chat template makes of a conversation."""
    text = "".join(f"<|{turn['role']}|>{turn['content']}{END_OF_TURN}" for turn in messages)
    return text + ("<|assistant|>" if add_generation_prompt else "")


def special_token_ids(tokenizer: Tokenizer) -> dict[str, int]:
    """Return the id of each special token."""
    ids = {token: tokenizer.token_to_id(token) for token in SPECIAL_TOKENS}
    return {token: i for token, i in ids.items() if i is not None}


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Train the BPE. Digits stand alone, which makes numbers easy to copy; any bytes survive the round trip."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: pathlib.Path) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json``, as transformers' AutoTokenizer reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": MAX_POSITIONS,
        "clean_up_tokenization_spaces": False,
        "eos_token": END_OF_TURN,
        "pad_token": PAD,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
