"""The life of a kernel: what comes goes again, cells run twice, modules reload, kernels restart and share a device."""

from __future__ import annotations

import importlib.metadata
import json
import pathlib
from collections.abc import Iterator

import pytest
from support.kernel import RealKernel, real_kernel

SNAPSHOT = """
import asyncio, gc, json, logging, os, signal, sys, threading, warnings
import comm, ipywidgets, pandas, torch, tqdm, transformers
transformers.AutoTokenizer, transformers.LlamaConfig  # what others bring is theirs
get_ipython().run_line_magic("config", "")  # IPython makes its own magics when they are first asked for

def snapshot():
    gc.collect()
    shell = get_ipython()
    formatters = {**shell.display_formatter.formatters, "ipython": shell.display_formatter.ipython_display_formatter}
    loggers = {"root": logging.root, **logging.root.manager.loggerDict}
    completer = shell.Completer
    return {
        "signals": {s.name: repr(signal.getsignal(s)) for s in signal.Signals},
        "asyncio": [repr(f) for f in (asyncio.run, asyncio.Task, type(asyncio.get_running_loop()).run_forever)],
        "nest_asyncio": [name for name in sys.modules if name.startswith("nest_asyncio")],
        # modules may have loggers; that they have handlers or levels is the user's choice
        "handlers": {name: repr(found) for name, log in loggers.items() if (found := getattr(log, "handlers", None))},
        "log levels": {name: level for name, log in loggers.items() if (level := getattr(log, "level", None))},
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "hooks": [repr(hook) for hook in (sys.excepthook, sys.displayhook, threading.excepthook, sys.unraisablehook)],
        "streams": [repr(sys.stdout), repr(sys.stderr), len(warnings.filters)],
        "environment": sorted(os.environ.items()),
        "interpreter": [sys.getswitchinterval(), gc.isenabled(), gc.get_threshold(), sys.getrecursionlimit()],
        "magics": {kind: sorted(names) for kind, names in shell.magics_manager.magics.items()},
        "registry": sorted(shell.magics_manager.registry),
        "configurables": sorted(type(configurable).__name__ for configurable in shell.configurables),
        "callbacks": {event: len(found) for event, found in shell.events.callbacks.items()},
        "completers": [len(completer.custom_matchers), sorted(shell.strdispatchers["complete_command"].strs)],
        "transformers": [len(shell.input_transformers_cleanup), len(shell.input_transformers_post)],
        "exceptions": repr(shell.custom_exceptions),
        "formatters": {name: len(f.type_printers) + len(f.deferred_printers) for name, f in formatters.items()},
        "accessors": [sorted(cls._accessors) for cls in (pandas.DataFrame, pandas.Series)],
        "comms": [len(comm.get_comm_manager().comms), sorted(comm.get_comm_manager().targets)],
        "tensors": sum(t.numel() for t in gc.get_objects() if type(t) in (torch.Tensor, torch.nn.Parameter)),
    }

def difference(before, after):
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}
"""
USE = """
%load_ext pagednb
%llm load '{model}' --device cpu --dtype float32
import pandas as pd
import pagednb as pnb
frame = pd.DataFrame({{"text": ["late", "lost"]}})
frame.llm.generate("{{text}}", max_tokens=5)
job = pd.concat([frame] * 500).llm.generate("{{text}}", max_tokens=50, cache=False, background=True)
answer = %generate --max-tokens 5 --chat Ada hello
%llm status
%config PagedNB.seed = 3
"""
REPEATED = [
    "%load_ext pagednb",
    "%llm load '{model}' --device cpu --dtype float32",
    "import pagednb as pnb; llm = pnb.load('{model}', device='cpu', dtype='float32')",
    "%config PagedNB.max_tokens = 6",
    "%%generate -o answer\nhello",
    "print(answer)",
    "import pandas as pd; frame = pd.DataFrame({{'text': ['late', 'lost']}}).llm.generate('{{text}}', max_tokens=5)",
    "print(frame['generated'].tolist(), pnb.status().model)",
]
ANSWER = "answer = %generate --max-tokens 20 the quick brown fox\nprint(answer)"


@pytest.fixture(scope="module")
def other_kernel() -> Iterator[RealKernel]:
    """A kernel beside the shared one."""
    with real_kernel() as kernel:
        yield kernel


def load(kernel: RealKernel, model: pathlib.Path) -> None:
    kernel.run(f"%load_ext pagednb\n%llm load '{model}' --device cpu --dtype float32")


def test_the_kernel_runs_the_ipykernel_of_this_environment(kernel: RealKernel) -> None:
    version = kernel.run("import ipykernel; print(ipykernel.__version__)").stdout.strip()
    assert version == importlib.metadata.version("ipykernel")


def test_what_came_goes_again(other_kernel: RealKernel, endless_model: pathlib.Path) -> None:
    other_kernel.run(SNAPSHOT + "before = snapshot()")
    other_kernel.run(USE.format(model=endless_model))
    changed = json.loads(other_kernel.run("print(json.dumps(difference(before, snapshot())))").stdout)
    assert {"threads", "magics", "configurables", "completers", "accessors", "tensors"} <= set(changed)
    other_kernel.run("%unload_ext pagednb")
    assert other_kernel.run("print(difference(before, snapshot()), job.is_done)").stdout == "{} True\n"
    assert other_kernel.finish(other_kernel.start("%llm status")).reply["status"] == "error"


def test_two_kernels_share_a_device(kernel: RealKernel, other_kernel: RealKernel, endless_model: pathlib.Path) -> None:
    expected = kernel.run(ANSWER).stdout
    load(other_kernel, endless_model)
    both = [each.start(ANSWER.replace("20", "400")) for each in (kernel, other_kernel)]
    long = [each.finish(msg_id) for each, msg_id in zip((kernel, other_kernel), both, strict=True)]
    assert long[0].stdout == long[1].stdout != expected
    other_kernel.run("%llm unload")
    assert kernel.run(ANSWER).stdout == expected


@pytest.mark.slow
def test_a_kernel_restarts_in_the_midst_of_work(
    kernel: RealKernel, other_kernel: RealKernel, endless_model: pathlib.Path
) -> None:
    other_kernel.run(USE.format(model=endless_model))
    assert other_kernel.shut_down() == 0, "it ends by itself; a front end would have to kill it"
    other_kernel.restart()
    load(other_kernel, endless_model)
    assert other_kernel.run(ANSWER).stdout == kernel.run(ANSWER).stdout


def test_every_cell_may_run_twice(kernel: RealKernel, endless_model: pathlib.Path) -> None:
    kernel.run("%unload_ext pagednb")
    for cell in REPEATED:
        first, second = (kernel.run(cell.format(model=endless_model)) for _ in range(2))
        if cell.startswith("print"):
            assert first.stdout == second.stdout
        assert second.of_type("error") == []
    kernel.run("%unload_ext pagednb")


def test_autoreload_leaves_the_engine_alone(kernel: RealKernel, tmp_path: pathlib.Path) -> None:
    """A module of the user changes between cells; its new class is used, the engine and the magics stay."""
    module = tmp_path / "user_schemas.py"
    module.write_text("class Ticket:\n    fields = ['team']\n")
    kernel.run(f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n%load_ext autoreload\n%autoreload 2")
    kernel.run("import pagednb as pnb, user_schemas\nengine, module = pnb.runtime.get_engine(), pnb.runtime")
    expected = kernel.run(ANSWER).stdout
    module.write_text("class Ticket:\n    fields = ['team', 'urgency']\n")
    kernel.run("assert user_schemas.Ticket.fields == ['team', 'urgency']")
    assert kernel.run(ANSWER).stdout == expected
    kernel.run("assert pnb.runtime.get_engine() is engine")
    kernel.run("%autoreload 0\n%unload_ext autoreload\nsys.path.pop(0); del user_schemas, engine")
