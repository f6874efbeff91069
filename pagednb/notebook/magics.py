"""``%llm``, ``%generate`` and ``%%generate``: declare, parse, delegate.

Registered by ``extension``. The engine is looked up at every call, so that load and unload in between just work. A
mistake in the line shows as one line; so does a fault that its own sentence explains. Both still fail the cell.
"""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments

from pagednb import runtime
from pagednb.errors import (
    EngineDeadError,
    EngineStepError,
    NotSupportedYetError,
    OptionError,
    PagednbError,
    SchemaError,
)
from pagednb.notebook import magic_options
from pagednb.notebook.display import stream_to_display
from pagednb.notebook.magic_options import GenerateOptions, strip_quotes, text_list, text_value
from pagednb.outputs import RequestOutput
from pagednb.sampling_params import SamplingParams
from pagednb.template import Template, resolve_in

if TYPE_CHECKING:
    from pagednb.engine.input_processor import Prompt
    from pagednb.engine.llm_engine import LLMEngine

LAST_OUTPUT = "_llm"
"""Variable of the notebook that holds the last completion."""


@magics_class
class PagednbMagics(Magics):
    """The magics of one shell. ``shadowed`` holds magics of the same names that were there before, by (kind, name)."""

    shadowed: dict[tuple[str, str], Callable[..., Any]]

    @line_magic
    def llm(self, line: str) -> Any:
        """Load, inspect and unload the engine of this kernel.

        %llm load [MODEL] [--option VALUE ...]
            Load a folder or a hub id; without MODEL, the embedded demonstration model. Every option of pagednb.load
            works as a flag: --max-model-len 4096, --device cpu, --enforce-eager, --no-enable-prefix-caching.
        %llm status
            Return what the engine is doing.
        %llm unload
            Stop the engine and give its memory back.
        """
        words = [word.text for word in magic_options.split_words(line)]
        actions = {"load": self._load, "status": self._status, "unload": self._unload}
        with one_line_errors():
            if not words:
                raise OptionError(f"%llm needs one of {', '.join(actions)}.")
            if words[0] not in actions:
                raise magic_options.unknown_word("%llm command", words[0], actions)
            return actions[words[0]](words[1:])

    @no_var_expand
    @line_cell_magic
    @magic_arguments()
    @argument("--max-tokens", type=int, default=256, metavar="N", help="Stop after N tokens (default 256).")
    @argument(
        "--temperature", "-t", type=float, metavar="T", help="0 is greedy (default, unless the model has its own)."
    )
    @argument("--top-p", type=float, metavar="P", help="Sample from the likeliest tokens that sum to P.")
    @argument("--top-k", type=int, metavar="K", help="Sample from the K likeliest tokens.")
    @argument("--seed", type=int, metavar="SEED", help="Draw the same answer every time.")
    @argument("--stop", type=text_value, action="append", metavar="TEXT", help="Stop before TEXT; may be repeated.")
    @argument("--choices", type=text_list, metavar="A,B", help="Answer with one of these texts.")
    @argument("--regex", type=strip_quotes, metavar="R", help="Answer with a text that matches R.")
    @argument("--schema", metavar="NAME", help="Answer with JSON that fits the schema or type in this variable.")
    @argument("--system", "-s", type=text_value, metavar="TEXT", help="System message ahead of the prompt.")
    @argument("-n", type=int, metavar="N", help="Number of completions.")
    @argument("-o", dest="name", metavar="NAME", help="Bind the RequestOutput to this variable, besides _llm.")
    @argument("--raw", action="store_true", help="Leave {name} in the prompt as it is.")
    @argument("prompt", nargs=argparse.REMAINDER, help="Line form only: the prompt, to the end of the line.")
    def generate(self, line: str, cell: str | None = None) -> RequestOutput | None:
        """Generate from the cell body and stream the text below; as a line, return the completion and show nothing.

        {name}, {name.attribute} and {name[0]} stand for variables of the notebook; other braces stay as they are. As a
        line, put a prompt that ends in a question mark into quotes: IPython takes the mark for a call for help.
        """
        with one_line_errors():
            args, text = self._parse(line, cell)
            options = GenerateOptions.from_args(args, self.shell.user_ns)
            engine = runtime.get_engine()
            prompt = self._make_prompt(engine, text, options)
            params = SamplingParams(**{"temperature": 0.0, **engine.resolved.generation_config, **options.sampling})
            if cell is None:
                output = engine.generate([prompt], params)[0]
            else:
                with contextlib.closing(engine.stream(prompt, params)) as steps:
                    output = stream_to_display(steps)
        self.shell.user_ns[LAST_OUTPUT] = output
        if options.name is not None:
            self.shell.user_ns[options.name] = output
        return output if cell is None else None

    def _parse(self, line: str, cell: str | None) -> tuple[argparse.Namespace, str]:
        """Split flags from prompt: the rest of the line as it was typed, or the cell without its last newline."""
        words = magic_options.split_words(line)
        parser = self.generate.parser
        args, unknown = parser.parse_known_args([word.text for word in words])
        if unknown:
            flag = unknown[0].split("=")[0]
            raise magic_options.unknown_word("flag", flag, re.findall(r"--[a-z-]+", parser.format_help()))
        if cell is None:
            text = magic_options.strip_quotes(line[words[-len(args.prompt)].start :]) if args.prompt else ""
        elif args.prompt:
            raise OptionError(f"Unexpected {args.prompt[0]!r}.", hint="In a cell the prompt goes below the first line.")
        else:
            text = cell.removesuffix("\n")
        if not text.strip():
            raise OptionError("The prompt is empty.")
        return args, text

    def _make_prompt(self, engine: LLMEngine, text: str, options: GenerateOptions) -> Prompt:
        """Fill variables in, then lay the messages out as the model's chat template wants them, if it has one."""
        if not options.is_raw:
            text = Template(text).render(resolve_in(self.shell.user_ns))
        if engine.has_chat_template:
            system = [{"role": "system", "content": options.system}] if options.system else []
            return engine.chat_prompt([*system, {"role": "user", "content": text}])
        if options.system:
            raise OptionError(
                "This model has no chat template, so --system has no place.", hint="Write it into the prompt."
            )
        return text

    def _load(self, words: list[str]) -> None:
        runtime.load(**magic_options.load_options(words))

    def _status(self, words: list[str]) -> object:
        _refuse_words("status", words)
        return runtime.status()

    def _unload(self, words: list[str]) -> None:
        _refuse_words("unload", words)
        runtime.unload()


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Show mistakes in the line, and faults that their own sentence explains, without a traceback.

    Both still fail the cell. A mistake becomes IPython's UsageError; a fault keeps its type. Only a fault inside the
    engine keeps its traceback too: there it says where.
    """
    try:
        yield
    except (OptionError, SchemaError, NotSupportedYetError) as error:
        raise UsageError(str(error)) from None
    except (EngineStepError, EngineDeadError):
        raise
    except PagednbError as error:
        sentence = f"{type(error).__name__}: {error}"
        error._render_traceback_ = lambda: [sentence]  # type: ignore[attr-defined]  # IPython's hook for it
        raise


def _refuse_words(command: str, words: list[str]) -> None:
    if words:
        raise OptionError(f"%llm {command} takes nothing more, got {words[0]!r}.")
