"""A conversation as it stood at one moment, as HTML and as markdown: what stays in a saved notebook.

No script and no widget: GitHub, nbviewer and nbconvert show it. Where a viewer takes the styles out, the order and the
names of the speakers still tell who said what.
"""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Sequence

from pagednb.chats.turn import Turn
from pagednb.rendering.fences import closed_markdown
from pagednb.rendering.markdown import render_markdown
from pagednb.rendering.output_html import NO_TEX, note_html, output_stylesheet

_STYLE = """
.pnb-transcript { max-width: 46em; line-height: 1.5; }
.pnb-transcript > div { margin: 0 0 1em; }
.pnb-transcript-name { font-weight: 600; font-size: .85em; opacity: .7; }
.pnb-transcript-said { white-space: pre-wrap; border-left: 3px solid #8a9bb5; padding: .1em 0 .1em .8em; }
.pnb-transcript-note { font-size: .85em; opacity: .7; }
.pnb-transcript details { opacity: .75; margin: .3em 0; }
"""
_STATE_TO_NOTE = {"stopped": "stopped", "cut": "ended by the length limit"}


@dataclasses.dataclass(frozen=True, repr=False)
class Transcript:
    """The turns of a branch. As the last expression of a cell it shows itself; ``display(...)`` does so anywhere."""

    turns: Sequence[Turn]
    system: str = ""

    def to_markdown(self) -> str:
        """Return the conversation as markdown: questions as quotes, answers as they were written."""
        opening = [f"**System**\n\n{_quoted(self.system)}"] if self.system else []
        return "\n\n".join([*opening, *map(_markdown, self.turns)])

    def to_html(self) -> str:
        """Return the conversation as sanitised HTML with its styles."""
        system = _entry("System", _said(self.system)) if self.system else ""
        turns = "".join(_entry(_name(turn), _html(turn)) for turn in self.turns) or note_html("nothing was said yet")
        return f"<style>{output_stylesheet()}{_STYLE}</style><div class='pnb-transcript {NO_TEX}'>{system}{turns}</div>"

    def __repr__(self) -> str:
        lines = [f"{_name(turn)}: {turn.text}{f' [{_note(turn)}]' if _note(turn) else ''}" for turn in self.turns]
        return "\n\n".join(lines) or "(nothing was said yet)"

    def _repr_html_(self) -> str:
        return self.to_html()

    def _repr_markdown_(self) -> str:
        return self.to_markdown()


def thought(turn: Turn) -> str:
    """Say how long the thoughts of a turn took."""
    if turn.figures is None or not turn.figures.num_thinking_tokens:
        return "Thoughts"
    return f"Thought {turn.figures.thinking_s:.1f} s, {turn.figures.num_thinking_tokens:,} tokens"


def _name(turn: Turn) -> str:
    if turn.role == "user":
        return "You"
    return "Model (edited)" if turn.is_edited else "Model"


def _note(turn: Turn) -> str:
    return turn.error or _STATE_TO_NOTE.get(turn.state, "")


def _markdown(turn: Turn) -> str:
    if turn.role == "user":
        return f"**{_name(turn)}**\n\n{_quoted(turn.text)}"
    parts = [f"**{_name(turn)}**"]
    if turn.thinking:
        summary = f"<details><summary>{thought(turn)}</summary>"
        parts += [summary, closed_markdown(turn.thinking), "</details>"]
    parts += [closed_markdown(turn.text)] if turn.text else []
    parts += [f"*{_note(turn)}*"] if _note(turn) else []
    return "\n\n".join(parts)


def _html(turn: Turn) -> str:
    if turn.role == "user":
        return _said(turn.text)
    thinking = ""
    if turn.thinking:
        body = f"<div class='pnb-markdown'>{render_markdown(turn.thinking)}</div>"
        thinking = f"<details><summary>{thought(turn)}</summary>{body}</details>"
    note = f"<div class='pnb-transcript-note'>{html.escape(_note(turn))}</div>" if _note(turn) else ""
    return f"{thinking}<div class='pnb-markdown'>{render_markdown(turn.text)}</div>{note}"


def _said(text: str) -> str:
    return f"<div class='pnb-transcript-said'>{html.escape(text)}</div>"


def _entry(name: str, body: str) -> str:
    return f"<div><div class='pnb-transcript-name'><strong>{name}</strong></div>{body}</div>"


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.split("\n"))
