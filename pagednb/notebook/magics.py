"""``%llm``, ``%generate`` and ``%%generate``: declare, parse, delegate.

Registered by ``extension``. The engine is looked up at every call, so that load and unload in between just work. A
mistake in the line shows as one line; so does a fault that its own sentence explains. Both still fail the cell.
"""

from __future__ import annotations

import argparse
import contextlib
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class, no_var_expand

from pagednb import runtime
from pagednb.errors import OptionError
from pagednb.notebook.answer_format import ANSWER_FORMATS
from pagednb.notebook.completion import Completer
from pagednb.notebook.conversation import Conversation
from pagednb.notebook.display import stream_to_display
from pagednb.notebook.generate_flags import FLAGS, generate_arguments
from pagednb.notebook.generate_options import GenerateOptions
from pagednb.notebook.llm_commands import LlmCommands
from pagednb.notebook.one_line_errors import one_line_errors
from pagednb.notebook.settings import PagedNB
from pagednb.notebook.thinking import opening_tag, split_thought, template_kwargs
from pagednb.notebook.words import split_words, strip_quotes, unknown_word
from pagednb.outputs import RequestOutput
from pagednb.rendering.fences import first_code_block
from pagednb.sampling_params import SamplingParams
from pagednb.template import Template, resolve_in

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine
    from pagednb.engine.token_prompt import Prompt

LAST_OUTPUT = "_llm"
"""Variable of the notebook that holds the last completion."""


@magics_class
class PagednbMagics(Magics):
    """The magics of one shell, with their settings and the conversations of ``--chat``, by name.

    ``shadowed`` holds magics of the same names that were there before, by (kind, name).
    """

    shadowed: dict[tuple[str, str], Callable[..., Any]]

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self.settings = PagedNB(parent=shell)
        self.conversations: dict[str, Conversation] = {}
        self.commands = LlmCommands(self.settings, self.conversations)
        self.completer = Completer(shell, self.commands.names, self.conversations.keys())

    @line_magic
    def llm(self, line: str) -> Any:
        """Load, inspect and unload the engine of this kernel; look after conversations.

        %llm load [MODEL] [--option VALUE ...]
            Load a folder or a hub id; without MODEL the one of %config PagedNB.model, or else the embedded
            demonstration model. Every option of pagednb.load works as a flag: --max-model-len 4096, --device cpu,
            --enforce-eager, --no-enable-prefix-caching.
        %llm status
            Return what the engine is doing.
        %llm list
            Return the models at hand: embedded, in the hub's local cache, loaded.
        %llm unload
            Stop the engine and give its memory back.
        %llm sleep [1|2]
            Give the GPU's memory back for a while: 1 keeps the weights in host memory, 2 reads them again.
        %llm wake
            Take the memory again and go on; %llm load does it too.
        %llm cancel
            End everything that is under way, background jobs and chats too; return how many sequences that were.
            A running cell is ended by the kernel's interrupt.
        %llm history [NAME]
            Return the conversation of --chat NAME, or how many answers each has.
        %llm reset [NAME ...]
            Forget conversations; without NAME all of them.
        """
        with one_line_errors():
            return self.commands.run([word.text for word in split_words(line)])

    @no_var_expand
    @line_cell_magic
    @generate_arguments
    def generate(self, line: str, cell: str | None = None) -> RequestOutput | None:
        r"""Generate from the cell body and stream the answer below; as a line, return the output and show nothing.

        {name}, {name.attribute} and {name[0]} stand for variables of the notebook; other braces stay as they are. As a
        line, put a prompt that ends in a question mark into quotes: IPython takes the mark for a call for help.

        Quotes around a flag's value are taken off, and \n, \t, \uXXXX in it understood. With -f code the first
        block of code is put into the next cell, and never run. %config PagedNB shows and sets what holds without flags.
        """
        with one_line_errors():
            args, text = self._parse(line, cell)
            options = GenerateOptions.from_args(args, self.settings, self.shell.user_ns)
            engine = runtime.get_engine()
            if not options.is_raw:
                text = Template(text).render(resolve_in(self.shell.user_ns))
            conversation = self._conversation(options).asked(text)
            prompt = _prompt(engine, conversation, options)
            params = SamplingParams(**{"temperature": 0.0, **engine.resolved.generation_config, **options.sampling})
            # a stream in both forms: somebody waits, so batch jobs on the same engine let it go first
            with contextlib.closing(engine.stream(prompt, params)) as steps:
                if cell is None:
                    (output,) = deque(steps, maxlen=1)
                else:
                    answer_format = ANSWER_FORMATS[options.format]
                    output = stream_to_display(steps, answer_format, opening=opening_tag(prompt))
        _, answer = split_thought(opening_tag(prompt) + output.text)
        self._keep(output, conversation.answered(answer), options)
        if cell is None:
            return output
        if options.format == "code":
            self.shell.set_next_input(first_code_block(answer))
        return None

    def _parse(self, line: str, cell: str | None) -> tuple[argparse.Namespace, str]:
        """Split flags from prompt: the rest of the line as it was typed, or the cell without its last newline."""
        words = split_words(line)
        args, unknown = self.generate.parser.parse_known_args([word.text for word in words])
        if unknown:
            raise unknown_word("flag", unknown[0].split("=")[0], FLAGS)
        if cell is None:
            text = strip_quotes(line[words[-len(args.prompt)].start :]) if args.prompt else ""
        elif args.prompt:
            raise OptionError(f"Unexpected {args.prompt[0]!r}.", hint="In a cell the prompt goes below the first line.")
        else:
            text = cell.removesuffix("\n")
        if not text.strip():
            raise OptionError("The prompt is empty.")
        return args, text

    def _conversation(self, options: GenerateOptions) -> Conversation:
        """Return what stands before the prompt: the kept conversation, or a new one."""
        kept = None if options.chat is None else self.conversations.get(options.chat)
        return (kept or Conversation().with_system(self.settings.system)).with_system(options.system)

    def _keep(self, output: RequestOutput, conversation: Conversation, options: GenerateOptions) -> None:
        """Bind the output to its variables; a conversation grows only by a turn that is complete."""
        self.shell.user_ns[LAST_OUTPUT] = output
        if options.name is not None:
            self.shell.user_ns[options.name] = output
        if options.chat is not None:
            self.conversations[options.chat] = conversation


def _prompt(engine: LLMEngine, conversation: Conversation, options: GenerateOptions) -> Prompt:
    """Lay the messages out as the model's chat template wants them; without one, the text is the prompt."""
    kwargs = template_kwargs(engine, options.thinking)
    if engine.has_chat_template:
        return engine.chat_prompt(conversation.messages, **kwargs)
    if options.chat is not None:
        raise OptionError("This model has no chat template, so --chat has no place.", hint="Write plain prompts.")
    (role, text), *others = conversation.turns
    if others:
        raise OptionError("This model has no chat template, so --system has no place.", hint="Put it into the prompt.")
    assert role == "user"
    return text
