"""What a person reads of a status: the same figures in text, HTML and Markdown, for every kind of engine."""

from __future__ import annotations

import dataclasses
import threading

import pytest
from support.engine_rig import RigBuilder, make_engine

from pagednb.engine.metrics import MemoryUse
from pagednb.engine.status import EngineStatus, NotLoadedStatus
from pagednb.engine.status_table import StatusTable, bytes_text
from pagednb.sampling_params import SamplingParams


def busy_status() -> EngineStatus:
    """An engine in the midst of more work than it has rows for."""
    engine, executor = make_engine(RigBuilder(num_blocks=20, max_num_seqs=3))
    gate, is_there = threading.Event(), threading.Event()
    statuses: list[EngineStatus] = []

    def before_step() -> None:
        if executor.num_steps == 6:
            is_there.set()
            assert gate.wait(30)

    executor.before_step = before_step
    params = SamplingParams(max_tokens=12, ignore_eos=True)
    worker = threading.Thread(target=lambda: engine.generate([[2, number, 5] for number in range(3, 17)], params))
    worker.start()
    assert is_there.wait(30)
    looker = threading.Thread(target=lambda: statuses.append(engine.status()))
    looker.start()
    gate.set()
    looker.join(30)
    worker.join(30)
    engine.shutdown()
    return statuses[0]


@pytest.fixture(scope="module")
def status() -> EngineStatus:
    return busy_status()


def test_text_html_and_markdown_say_the_same(status: EngineStatus) -> None:
    text, html, markdown = repr(status), status._repr_html_(), status._repr_markdown_()
    for name, value in status.table.figures:
        assert name in text and value in text
        assert f"<th>{name}</th>" in html and value in html
        assert f"| {name} | {value} |" in markdown
    assert "3 running" in text and "decode" in text and "waiting" in text
    assert text.endswith("more requests") and html.endswith("more requests</p>") and markdown.endswith("more requests")


def test_columns_of_the_text_are_even(status: EngineStatus) -> None:
    lines = repr(status).splitlines()
    head = next(index for index, line in enumerate(lines) if line.startswith("request "))
    end_of_blocks = lines[head].index("blocks") + len("blocks")
    for line in lines[head + 1 : -1]:
        assert line[:end_of_blocks].split()[-1].isdigit()


def test_names_of_models_are_harmless() -> None:
    table = StatusTable([("model", "<script>alert(1)</script> | x")], [], "")
    assert "<script" not in table.html()
    assert table.markdown().splitlines()[-1] == "| model | <script>alert(1)</script> \\| x |"


def test_busy_time_is_part_of_the_uptime(status: EngineStatus) -> None:
    assert status.num_steps >= 6 and 0 < status.busy_s <= status.uptime_s
    assert 0 < status.cost_s < status.uptime_s


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(0, "0 KiB"), (2**10, "1 KiB"), (5 * 2**20, "5 MiB"), (1023 * 2**20, "1,023 MiB"), (98 * 2**30, "98 GiB")],
)
def test_sizes_as_people_read_them(num_bytes: int, text: str) -> None:
    assert bytes_text(num_bytes) == text


def test_memory_adds_up_whether_it_is_measured_or_planned() -> None:
    planned = MemoryUse(
        total_bytes=100, used_before_bytes=10, weight_bytes=20, activation_bytes=3, graph_bytes=2, kv_cache_bytes=40
    )
    assert (planned.working_bytes, planned.other_bytes, planned.free_bytes) == (5, 10, 25)
    measured = MemoryUse(
        total_bytes=100,
        used_before_bytes=10,
        weight_bytes=20,
        activation_bytes=3,
        graph_bytes=2,
        kv_cache_bytes=40,
        used_bytes=90,
        own_bytes=68,
    )
    assert (measured.working_bytes, measured.other_bytes, measured.free_bytes) == (8, 22, 10)


def test_weights_in_host_memory_are_named_beside_those_on_the_device(status: EngineStatus) -> None:
    memory = dataclasses.replace(status.memory, weight_bytes=12 * 2**30, offloaded_bytes=5 * 2**30)
    assert "weights 12 GiB (5 GiB more in host memory), KV cache" in repr(dataclasses.replace(status, memory=memory))
    assert "host memory" not in repr(status)


def test_without_an_engine_it_says_how_to_load_one() -> None:
    status = NotLoadedStatus()
    assert "pagednb.load()" in repr(status) == status._repr_markdown_() and repr(status) in status._repr_html_()
