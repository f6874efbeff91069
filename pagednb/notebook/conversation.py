"""A conversation that ``--chat NAME`` goes on with: frozen, and longer after each answer."""

from __future__ import annotations

import dataclasses

from pagednb.rendering import output_html
from pagednb.rendering.markdown import render_markdown


@dataclasses.dataclass(frozen=True, repr=False)
class Conversation:
    """Messages so far, each a role and a content. Shown by ``%llm history NAME``."""

    turns: tuple[tuple[str, str], ...] = ()

    @property
    def messages(self) -> list[dict[str, str]]:
        """The messages as OpenAI's dicts."""
        return [{"role": role, "content": content} for role, content in self.turns]

    @property
    def num_answers(self) -> int:
        """How often the model has answered."""
        return sum(role == "assistant" for role, _ in self.turns)

    def with_system(self, text: str | None) -> Conversation:
        """Return it with ``text`` as its system message; with None as it is."""
        if text is None:
            return self
        others = tuple(turn for turn in self.turns if turn[0] != "system")
        return Conversation((("system", text), *others) if text else others)

    def asked(self, text: str) -> Conversation:
        """Return it with one more question."""
        return Conversation((*self.turns, ("user", text)))

    def answered(self, text: str) -> Conversation:
        """Return it with the answer to the last question."""
        return Conversation((*self.turns, ("assistant", text)))

    def __repr__(self) -> str:
        return "\n\n".join(f"{role}: {content}" for role, content in self.turns) or "(nothing was said yet)"

    def _repr_html_(self) -> str:
        if not self.turns:
            return output_html.note_html("nothing was said yet")
        return output_html.page(*(render_markdown(f"**{role}**\n\n{content}") for role, content in self.turns))

    def _repr_markdown_(self) -> str:
        return "\n\n".join(f"**{role}**\n\n{content}" for role, content in self.turns) or "*nothing was said yet*"
