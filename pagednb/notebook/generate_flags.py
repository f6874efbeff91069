"""The flags of ``%generate``, declared once: for parsing, for ``%generate?`` and for tab completion.

A flag that carries a sampling parameter has its name; ``SamplingParams`` checks its value. Flags that were not given
are absent from the parsed namespace, so that ``--max-tokens none`` differs from silence.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from IPython.core.magic_arguments import argument, argument_group, magic_arguments

from pagednb.notebook.answer_format import FORMATS
from pagednb.notebook.words import (
    number,
    number_map,
    strip_quotes,
    text_list,
    text_value,
    unknown_word,
    whole_number,
    whole_number_or_none,
    whole_numbers,
)

THINKING = ("on", "off", "auto")

Completes = Literal["values", "schemas", "texts", "names", "chats"]
"""What a flag's value is completed from: its ``values``, kinds of variables, or names of conversations."""


class Flag(NamedTuple):
    """One flag: its names, what argparse is told of it, and how its value is completed."""

    names: tuple[str, ...]
    keywords: Mapping[str, Any]
    completes: Completes | None = None
    values: tuple[str, ...] = ()

    @property
    def takes_value(self) -> bool:
        """Whether the next word belongs to it."""
        return not str(self.keywords.get("action", "")).startswith("store_")


def _flag(*names: str, completes: Completes | None = None, **keywords: Any) -> Flag:
    value = {} if "action" in keywords else {"type": strip_quotes}
    return Flag(names, {"default": argparse.SUPPRESS, **value, **keywords}, completes)


def _choice(*names: str, values: tuple[str, ...], **keywords: Any) -> Flag:
    def one_of_them(text: str) -> str:
        word = strip_quotes(text)
        if word not in values:
            raise argparse.ArgumentTypeError(str(unknown_word("value", word, values)))
        return word

    options = {"default": argparse.SUPPRESS, "type": one_of_them, "metavar": "|".join(values), **keywords}
    return Flag(names, options, "values", values)


def _switch(name: str, *, help: str) -> Flag:
    """``--x`` sets x; ``--no-x`` clears it."""
    is_off = name.startswith("--no-")
    dest = name.removeprefix("--no-" if is_off else "--").replace("-", "_")
    return _flag(name, action="store_false" if is_off else "store_true", dest=dest, help=help)


GROUPS: dict[str, tuple[Flag, ...]] = {
    "answer": (
        _choice("--format", "-f", values=FORMATS, help="How the answer is shown (default markdown)."),
        _flag("--system", "-s", type=text_value, metavar="TEXT", help="System message ahead of the prompt."),
        _flag("--chat", completes="chats", metavar="NAME", help="Go on with the conversation NAME, which is kept."),
        _choice("--thinking", values=THINKING, help="Whether a model that can think does (default auto: it decides)."),
        _flag("-o", dest="name", completes="names", metavar="NAME", help="Bind the output to NAME, besides _llm."),
        _flag("--raw", action="store_true", help="Leave {name} in the prompt as it is."),
    ),
    "constraint, one of": (
        _flag("--schema", completes="schemas", metavar="NAME", help="Answer with JSON that fits the variable NAME."),
        _flag("--choices", type=text_list, metavar="A,B", help="Answer with one of these texts."),
        _flag("--regex", metavar="R", help="Answer with a text that matches R."),
        _flag("--grammar", completes="texts", metavar="NAME", help="Answer by the Lark grammar in the variable NAME."),
        _switch("--whitespace", help="With --schema: let the JSON hold free whitespace."),
    ),
    "sampling": (
        _flag("--max-tokens", type=whole_number_or_none, metavar="N", help="Stop after N tokens, or none (256)."),
        _flag("--min-tokens", type=whole_number, metavar="N", help="No end before N tokens."),
        _flag("--temperature", "-t", type=number, metavar="T", help="0 is greedy (default: the model's own, or 0)."),
        _flag("--top-p", type=number, metavar="P", help="Sample from the likeliest tokens that sum to P."),
        _flag("--top-k", type=whole_number, metavar="K", help="Sample from the K likeliest tokens."),
        _flag("--min-p", type=number, metavar="P", help="Leave out tokens less likely than P times the likeliest."),
        _flag("--presence-penalty", type=number, metavar="X", help="Against tokens that the answer holds already."),
        _flag("--frequency-penalty", type=number, metavar="X", help="The same, times how often it holds them."),
        _flag("--repetition-penalty", type=number, metavar="X", help="Above 1: against tokens of prompt and answer."),
        _flag("--logit-bias", type=number_map, metavar="ID:X,ID:X", help="Add X to the logit of token ID."),
        _flag("--seed", type=whole_number, metavar="SEED", help="Draw the same answer every time."),
        _flag("-n", type=whole_number, metavar="N", help="Number of completions."),
    ),
    "end and report": (
        _flag("--stop", type=text_value, action="append", metavar="TEXT", help="Stop before TEXT; may be repeated."),
        _flag("--stop-token-ids", type=whole_numbers, metavar="ID,ID", help="Stop at these tokens."),
        _switch("--include-stop-str-in-output", help="Leave the stop text in the answer."),
        _switch("--ignore-eos", help="Go on after the model's own end token."),
        _switch("--no-skip-special-tokens", help="Show special tokens too."),
        _switch("--no-detokenize", help="Make no text, only token ids."),
        _flag("--logprobs", type=whole_number, metavar="N", help="Report the N likeliest tokens at every position."),
        _flag("--logprob-token-ids", type=whole_numbers, metavar="ID,ID", help="Report exactly these instead."),
    ),
}

FLAGS: dict[str, Flag] = {name: flag for group in GROUPS.values() for flag in group for name in flag.names}
"""Every flag by each of its names."""


def generate_arguments(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate ``function`` with the flags and the prompt that a line may end with."""
    prompt = argument("prompt", nargs=argparse.REMAINDER, help="Line form only: the prompt, to the end of the line.")
    decorators = [prompt]
    for title, flags in GROUPS.items():
        decorators += [argument_group(title), *(argument(*flag.names, **flag.keywords) for flag in flags)]
    for decorator in reversed(decorators):
        function = decorator(function)
    function = magic_arguments()(function)
    function.parser.allow_abbrev = False  # type: ignore[attr-defined]  # half a name would hide a mistake
    return function
