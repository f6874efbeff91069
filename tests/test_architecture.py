"""The house keeps its shape: who may import whom, and what a guest in someone's process never does."""

from __future__ import annotations

import ast
import graphlib
import pathlib
import tomllib
from collections.abc import Iterator

import pytest

from pagednb.version import VERSION

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOP_FILES = {
    "pagednb.beam_search_params",
    "pagednb.checks",
    "pagednb.config",
    "pagednb.envs",
    "pagednb.errors",
    "pagednb.forward_batch",
    "pagednb.inputs",
    "pagednb.interrupts",
    "pagednb.outputs",
    "pagednb.request",
    "pagednb.sampling_checks",
    "pagednb.sampling_params",
    "pagednb.sleep_state",
    "pagednb.structured_outputs_params",
    "pagednb.template",
    "pagednb.version",
    "pagednb.vllm_methods",
    "pagednb.vllm_options",
    "pagednb.whole_import",
}
SURFACE_FILES = {"pagednb.runtime", "pagednb.llm"}
ENGINE = {"pagednb.engine"}

# folder (or file) -> what it may import of ours; itself is always allowed
MAY_IMPORT: dict[str, set[str]] = {
    "pagednb.kernels": set(),
    "pagednb.kv_cache": TOP_FILES,
    "pagednb.scheduler": TOP_FILES | {"pagednb.kv_cache"},
    "pagednb.attention": TOP_FILES | {"pagednb.kernels", "pagednb.kv_cache"},
    "pagednb.layers": TOP_FILES | {"pagednb.kernels", "pagednb.kv_cache", "pagednb.attention"},
    "pagednb.models": TOP_FILES | {"pagednb.kernels", "pagednb.kv_cache", "pagednb.attention", "pagednb.layers"},
    "pagednb.sampling": TOP_FILES | {"pagednb.kernels", "pagednb.scheduler.output"},
    "pagednb.runner": TOP_FILES
    | {
        "pagednb.kernels",
        "pagednb.kv_cache",
        "pagednb.models",
        "pagednb.sampling",
        "pagednb.scheduler.output",
    },
    "pagednb.engine": TOP_FILES
    | {
        "pagednb.kv_cache",
        "pagednb.scheduler",
        "pagednb.runner",
        "pagednb.models.resolve",
        "pagednb.structured_output",
    },
    "pagednb.llm": TOP_FILES | ENGINE,
    "pagednb.runtime": TOP_FILES | ENGINE | {"pagednb.llm"},
    "pagednb.notebook": TOP_FILES
    | SURFACE_FILES
    | ENGINE
    | {"pagednb.dataframe", "pagednb.models.local_models", "pagednb.rendering"},
    # sampling parameters speak of schemas, so what they import lies below them
    "pagednb.structured_output": {"pagednb.errors"},
    "pagednb.sampling_params": TOP_FILES | {"pagednb.structured_output"},
    "pagednb.sampling_checks": TOP_FILES | {"pagednb.structured_output"},
    "pagednb.request": TOP_FILES | {"pagednb.structured_output"},
    "pagednb.dataframe": TOP_FILES | SURFACE_FILES | ENGINE | {"pagednb.structured_output", "pagednb.widgets"},
    "pagednb.dataframe.chat_frame": {"pagednb.chats.turn", "pagednb.dataframe.results"},
    # views of models that they are handed
    "pagednb.widgets": set(),
    # text in, HTML out
    "pagednb.rendering": set(),
    "pagednb.embedded_model": TOP_FILES,
    "pagednb.chats": TOP_FILES
    | SURFACE_FILES
    | ENGINE
    | {
        "pagednb.rendering",
        "pagednb.widgets.chat",
        "pagednb.dataframe.chat_frame",
    },
    # it looks at statuses, which hold maps of blocks and the progress of requests
    "pagednb.monitoring": TOP_FILES
    | SURFACE_FILES
    | ENGINE
    | {"pagednb.kv_cache.block_map", "pagednb.scheduler.snapshot", "pagednb.widgets.monitor"},
    # it watches an engine's steps from outside
    "pagednb.benchmark": TOP_FILES
    | ENGINE
    | {"pagednb.scheduler.output", "pagednb.scheduler.stats", "pagednb.models.resolve"},
    "pagednb.command_line": TOP_FILES
    | SURFACE_FILES
    | ENGINE
    | {
        "pagednb.benchmark",
        "pagednb.dataframe.accessor",
        "pagednb.dataframe.table_file",
        "pagednb.doctor",
        "pagednb.embedded_model",
        "pagednb.models.local_models",
        "pagednb.rendering.thinking",
        "pagednb.server",
    },
    # it looks at the machine from outside, and asks one model
    "pagednb.doctor": TOP_FILES | {"pagednb.llm"},
    "pagednb.server": TOP_FILES | SURFACE_FILES | ENGINE | {"pagednb.rendering.thinking"},
    "pagednb.server.__main__": {"pagednb.command_line"},
    "pagednb": TOP_FILES
    | SURFACE_FILES
    | {
        "pagednb.notebook",
        "pagednb.chats.chat",
        "pagednb.dataframe",
        "pagednb.command_line",
        "pagednb.monitoring.monitor",
        "pagednb.server.serve",
    },
}
# library -> the only places that may import it
ONLY_IN = {
    "IPython": {"pagednb.notebook"},
    "fastapi": {"pagednb.server"},
    "ipywidgets": {"pagednb.notebook", "pagednb.widgets"},
    "narwhals": {"pagednb.dataframe"},
    "pandas": {"pagednb.dataframe"},
    "prometheus_client": {"pagednb.server"},
    "triton": {"pagednb.kernels"},
    "uvicorn": {"pagednb.server"},
}
# folders of pagednb.dataframe from the ground up: each may import those before it, files beside them any of them
DATAFRAME_FLOORS = (
    "results",
    "prompts",
    "kept",
    "rows",
    "run",
    "generation",
    "embedding",
    "labels",
    "extraction",
    "aggregation",
    "review",
    "evaluation",
    "verbs",
    "accessors",
)
NO_TORCH = ("pagednb.chats", "pagednb.scheduler", "pagednb.notebook", "pagednb.dataframe")
# in kv_cache only the tensors' store knows torch
NO_TORCH_FILES = tuple(
    f"pagednb.kv_cache.{name}" for name in ("block_pool", "block_manager", "eviction_queue", "prefix_cache")
)
FORBIDDEN_CALLS = {
    "asyncio.run",
    "exit",
    "logging.basicConfig",
    "nest_asyncio.apply",
    "os._exit",
    "os.putenv",
    "signal.signal",
    "sys.exit",
    "torch.manual_seed",
    "torch.cuda.manual_seed",
    "torch.cuda.manual_seed_all",
    "torch.set_default_device",
    "torch.set_default_dtype",
    "torch.set_num_threads",
    "torch.use_deterministic_algorithms",
}
TRAINING_SCRIPTS = {"pagednb.embedded_model.train"}
# while the main thread waits, a tenth of a second at a time, and then it is given back
BORROWS_A_HANDLER = "pagednb.interrupts"
MAX_LINES = 400


def module_files() -> Iterator[tuple[str, pathlib.Path]]:
    outside = [(ROOT / name, f"pagednb.{name}") for name in ("kernels", "widgets")]
    for folder, package in ((ROOT / "pagednb", "pagednb"), *outside):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield ".".join((package, *(part for part in parts if part != "__init__"))), path


MODULES = dict(module_files())


def imports_of(path: pathlib.Path) -> Iterator[str]:
    """Full names of everything imported anywhere in the file, lazy imports included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in MODULES else str(node.module)


def is_within(name: str, places: set[str]) -> bool:
    return any(name == place or name.startswith(place + ".") for place in places)


def room_of(module: str) -> str:
    rooms = [room for room in MAY_IMPORT if is_within(module, {room})]
    return max(rooms, key=len)


@pytest.mark.parametrize("module", MODULES)
def test_imports_follow_the_house(module: str) -> None:
    room = room_of(module)
    own = MAY_IMPORT[room] | ({room} if room != "pagednb" else set())
    allowed = TOP_FILES if module in TOP_FILES - MAY_IMPORT.keys() else own
    reached = {name for name in imports_of(MODULES[module]) if is_within(name, {"pagednb"})}
    assert not {name for name in reached if not is_within(name, allowed)}, f"{module} may import {sorted(allowed)}"


def floor_of(module: str) -> int:
    """The number of a dataframe module's floor; the roof for files beside the folders."""
    folder = module.split(".")[2]
    return DATAFRAME_FLOORS.index(folder) if folder in DATAFRAME_FLOORS else len(DATAFRAME_FLOORS)


def test_folders_of_the_dataframe_are_floors() -> None:
    folders = {path.parent.name for path in (ROOT / "pagednb/dataframe").glob("*/__init__.py")}
    assert folders == set(DATAFRAME_FLOORS)


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("pagednb.dataframe.")])
def test_the_dataframe_is_built_upwards(module: str) -> None:
    reached = [name for name in imports_of(MODULES[module]) if name.startswith("pagednb.dataframe.")]
    assert all(floor_of(name) <= floor_of(module) for name in reached), reached


def test_no_circles_in_the_dataframe() -> None:
    graph = {
        name: {other for other in imports_of(path) if other.startswith("pagednb.dataframe")}
        for name, path in MODULES.items()
        if name.startswith("pagednb.dataframe")
    }
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("module", MODULES)
def test_libraries_stay_in_their_rooms(module: str) -> None:
    for name in imports_of(MODULES[module]):
        library = name.split(".")[0]
        if library in ONLY_IN:
            assert is_within(module, ONLY_IN[library]), f"{module} imports {library}"
        if library == "torch":
            assert not is_within(module, {*NO_TORCH, *NO_TORCH_FILES}), f"{module} imports torch"


@pytest.mark.parametrize("module", MODULES)
def test_a_guest_changes_no_process_state(module: str) -> None:
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Call) and module not in TRAINING_SCRIPTS:
            allowed = {"signal.signal"} if module == BORROWS_A_HANDLER else set()
            assert ast.unparse(node.func) not in FORBIDDEN_CALLS - allowed, f"{module}:{node.lineno}"
        if isinstance(node, (ast.Assign, ast.AugAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            assert not any("os.environ" in ast.unparse(target) for target in targets), f"{module}:{node.lineno}"


@pytest.mark.parametrize("module", MODULES)
def test_one_noun_a_file(module: str) -> None:
    assert len(MODULES[module].read_text().splitlines()) <= MAX_LINES


def test_the_version_is_pyprojects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION


def test_packages_listed_in_pyproject_are_the_tree() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    tree = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    assert set(settings["packages"]) == tree


def test_the_rules_can_fail(tmp_path: pathlib.Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    import torch\n    from pagednb.runner.model_runner import ModelRunner\n")
    assert "torch" in set(imports_of(bad))
    assert not is_within("pagednb.runner.model_runner", MAY_IMPORT["pagednb.scheduler"])
    assert not is_within("pagednb.kernels_of_others", {"pagednb.kernels"})
