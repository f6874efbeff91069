"""Where the words of a label verb stand: before the first text that the model reads, an example or the row."""

from __future__ import annotations

import dataclasses

from pagednb.dataframe.prompts.model_prompt import Chat
from pagednb.dataframe.prompts.row_prompts import RowPrompts


def with_words(prompts: RowPrompts, chat: Chat, words: str) -> tuple[RowPrompts, Chat]:
    """Return the rows' prompts, and what stands around each, with the verb's instruction in its place."""
    if not chat.turns:
        return dataclasses.replace(prompts, template=prompts.template.after(words)), chat
    (asked, answered), *others = chat.turns
    return prompts, dataclasses.replace(chat, turns=((words + asked, answered), *others))
