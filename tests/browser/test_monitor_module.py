"""The monitor's module alone on a page: what it draws of a frame, how it is looked at, and what it leaves."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from support.block_maps import block_map
from support.mounted_widget import MountedWidget, Theme

from pagednb.engine.metrics import MemoryUse
from pagednb.kv_cache.block_map import BlockMap
from pagednb.monitoring.frame import UNLOADED, frame_of
from pagednb.monitoring.rates import Sample
from pagednb.scheduler.snapshot import RequestProgress
from pagednb.scheduler.stats import SchedulerStats

GIB = 2**30
TABLES = {0: [1, 2, 3, 4], 1: [1, 2, 5, 6], 2: [7, 8]}
MEMORY = MemoryUse(
    total_bytes=80 * GIB,
    used_before_bytes=GIB,
    weight_bytes=16 * GIB,
    activation_bytes=2 * GIB,
    graph_bytes=GIB,
    kv_cache_bytes=50 * GIB,
)
HISTORY = [Sample(3000.0 * (n % 9), 1200.0 + n, None if n % 20 == 7 else 0.6, 4.0 + n % 3) for n in range(80)]


def request(request_id: int, *, running: bool = True, preempted: int = 0, **fields: Any) -> RequestProgress:
    computed, blocks = (14, len(TABLES[request_id])) if running else (0, 0)
    progress = RequestProgress(request_id, None, (0, 1, request_id), 9, 8, computed, 6, 20, preempted, blocks)
    return progress._replace(**fields)


STATS = SchedulerStats(
    num_waiting=2,
    num_running=3,
    num_blocks=24,
    num_used_blocks=8,
    num_cached_blocks=2,
    waste=0.1,
    mean_waste=0.1,
    mean_memory_waste=0.1,
    num_prefix_tokens_hit=5,
    num_prefix_tokens_asked=10,
    num_preemptions=1,
)


def frame(blocks: BlockMap | None = None) -> dict[str, Any]:
    """A small engine at work: requests 0 and 1 share two blocks, somebody watches request 2."""
    status: Any = SimpleNamespace(
        model="a/model",
        dtype="bfloat16",
        device="cuda:0",
        scheduler=STATS,
        blocks=blocks or block_map(TABLES, num_blocks=24, cached=[11, 12], num_tokens=14),
        running=tuple(request(request_id, order=(0, int(request_id != 2), request_id)) for request_id in TABLES),
        waiting=(request(3, running=False, preempted=1), request(4, running=False, num_generated_tokens=0)),
        num_finished=1234,
        tokens_in_per_s=100.0,
        tokens_out_per_s=10.0,
        memory=MEMORY,
        asleep=None,
    )
    return frame_of(status, HISTORY)


def many_blocks() -> BlockMap:
    """A pool where a cell stands for five blocks."""
    tables = {number: list(range(1 + 52 * number, 53 + 52 * number)) for number in range(60)}
    return block_map(tables, num_blocks=20_000, cached=list(range(5_001, 9_001)))


def look_at(monitor: MountedWidget, cell: int) -> str:
    """Walk to a cell by keyboard and return what is said about it."""
    canvas = monitor.view.get_by_role("img", name="KV blocks")
    canvas.focus()
    monitor.page.keyboard.press("Home")
    for _ in range(cell):
        monitor.page.keyboard.press("ArrowRight")
    return monitor.view.locator(".pnb-monitor-tip").inner_text()


@pytest.fixture
def monitor(mounted: Callable[..., MountedWidget]) -> MountedWidget:
    return mounted("monitor", {"frame": frame()})


def test_it_says_that_it_watches_and_when_it_leaves(monitor: MountedWidget) -> None:
    [watch] = monitor.wait_sent()
    assert watch["type"] == "watch" and watch["view"]
    monitor.add_view()
    assert len({message["view"] for message in monitor.wait_sent(2)}) == 2
    monitor.remove_views()
    messages = monitor.wait_sent(4)
    assert [message["type"] for message in messages] == ["watch", "watch", "leave", "leave"]
    assert {message["view"] for message in messages[2:]} == {message["view"] for message in messages[:2]}
    assert monitor.num_listeners == 0


def test_figures_requests_and_memory_are_those_of_the_frame(monitor: MountedWidget) -> None:
    view = monitor.view
    expect(view.locator(".pnb-monitor-value")).to_have_text(["1,279", "21,000", "60 %", "5.00"])
    expect(view.locator(".pnb-monitor-title")).to_have_text("a/model · bfloat16 · cuda:0")
    expect(view.get_by_text("3 running · 2 waiting · 1,234 finished · preempted once")).to_be_visible()
    rows = view.get_by_role("listitem")
    expect(rows.locator(".pnb-monitor-name")).to_have_text(["2 ◉", "0", "1", "3", "4"])
    expect(rows.locator(".pnb-monitor-state")).to_have_text(["decode", "decode", "decode", "preempted", "waiting"])
    expect(rows.nth(1).get_by_role("progressbar")).to_have_attribute("aria-valuenow", "52")
    expect(view.get_by_role("img", name="Memory: weights 16.0 GiB, KV cache 50.0 GiB")).to_be_visible()
    for text in ("one owner 6", "shared 2", "cached prefix 2", "free 14", "24 blocks of 4 tokens"):
        expect(view.get_by_text(text, exact=True)).to_be_visible()


@pytest.mark.parametrize("width", [400, 1000])
def test_a_long_list_of_requests_ends_in_a_whole_row(
    mounted: Callable[..., MountedWidget], page: Page, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    busy = frame()
    busy["requests"] = [{**busy["requests"][0], "id": number} for number in range(24)]
    view = mounted("monitor", {"frame": busy}).view
    expect(view.get_by_role("listitem")).to_have_count(24)
    shown = view.locator(".pnb-monitor-rows").bounding_box()
    row = view.get_by_role("listitem").first.bounding_box()
    assert shown and row and shown["height"] / row["height"] == 12


def test_each_cell_tells_block_owners_and_tokens(monitor: MountedWidget) -> None:
    assert look_at(monitor, 0) == "Block 1\nshared by 2 requests: 0, 1\ntokens 1 to 4"
    assert look_at(monitor, 3) == "Block 4\nrequest 0\ntokens 13 to 14 of 14"
    assert look_at(monitor, 10) == "Block 11\nno owner; keeps 4 tokens of a prefix"
    assert look_at(monitor, 23) == "Block 24\nfree"
    monitor.page.keyboard.press("Escape")
    expect(monitor.view.locator(".pnb-monitor-tip")).to_be_hidden()


def test_pointing_at_a_cell_marks_its_request(monitor: MountedWidget) -> None:
    canvas = monitor.view.get_by_role("img", name="KV blocks")
    canvas.hover(position={"x": 18 * 6 + 5, "y": 6})  # the seventh cell of the widest size
    expect(monitor.view.locator(".pnb-monitor-tip")).to_contain_text("request 2")
    expect(monitor.view.locator(".pnb-monitor-marked .pnb-monitor-name")).to_have_text(["2 ◉"])
    before = canvas.screenshot()
    monitor.view.get_by_role("listitem").nth(1).hover()
    expect(monitor.view.locator(".pnb-monitor-tip")).to_be_hidden()
    assert canvas.screenshot() != before, "the blocks of request 0 stand out"


def test_kinds_of_blocks_differ_without_any_colour(mounted: Callable[..., MountedWidget]) -> None:
    """Seen in shades of grey: how light a cell is in the middle of its left edge and in its middle."""
    for theme in ("light", "dark"):
        monitor = mounted("monitor", {"frame": frame()}, theme=theme)
        pixels = monitor.page.evaluate(GREY_CELLS, [0, 6, 10, 23])
        assert len({tuple(round(value / 8) for value in cell) for cell in pixels}) == 4, (theme, pixels)


# the mean of each quarter of a cell in grey, without its alpha: what is not drawn is 0
GREY_CELLS = """(cells) => {
  const canvas = document.querySelector("canvas");
  const context = canvas.getContext("2d");
  return cells.map((cell) => {
    const data = context.getImageData(cell * 18 + 2, 2, 11, 11).data;
    const greys = [];
    for (let i = 0; i < data.length; i += 4) {
      greys.push((0.2126 * data[i] + 0.7152 * data[i + 1] + 0.0722 * data[i + 2]) * data[i + 3] / 255);
    }
    const mean = greys.reduce((sum, grey) => sum + grey, 0) / greys.length;
    return [mean, Math.max(...greys) - Math.min(...greys)];
  });
}"""


def test_a_large_pool_is_drawn_in_cells_of_several_blocks(mounted: Callable[..., MountedWidget]) -> None:
    monitor = mounted("monitor", {"frame": frame(many_blocks())})
    expect(monitor.view.get_by_text("20,000 blocks of 4 tokens, 5 a cell")).to_be_visible()
    assert look_at(monitor, 2) == "Blocks 11 to 15\n5 with one owner\namong the owners: 0"
    monitor.page.keyboard.press("End")
    expect(monitor.view.locator(".pnb-monitor-tip")).to_have_text(
        "Blocks 19,996 to 20,000\n5 free", use_inner_text=True
    )


def test_frames_change_what_is_there_and_add_nothing(monitor: MountedWidget) -> None:
    count = "document.querySelectorAll('.mount-view *').length"
    before = monitor.page.evaluate(count)
    for _ in range(5):
        monitor.update(frame=frame())
    assert monitor.page.evaluate(count) == before
    monitor.update(frame=frame() | {"requests": [], "num_running": 0, "num_waiting": 0, "state": "idle"})
    expect(monitor.view.get_by_role("listitem")).to_have_count(0)
    expect(monitor.view.locator(".pnb-monitor-state-now")).to_have_text("idle")
    monitor.update(frame=UNLOADED)
    expect(monitor.view.get_by_text("No model is loaded. pnb.load() loads one.")).to_be_visible()
    expect(monitor.view.locator("canvas")).to_be_hidden()
    monitor.update(frame=frame())
    expect(monitor.view.locator("canvas")).to_be_visible()


def test_before_the_first_frame_it_waits(mounted: Callable[..., MountedWidget]) -> None:
    expect(mounted("monitor", {"frame": {}}).view.get_by_text("Waiting for the kernel …")).to_be_visible()


@pytest.mark.parametrize("is_announced", [True, False])
def test_a_restarted_kernel_works_no_longer(monitor: MountedWidget, is_announced: bool) -> None:
    monitor.lose_kernel(is_announced=is_announced)
    if not is_announced:
        monitor.page.evaluate("window.dispatchEvent(new Event('pagehide'))")
    expect(monitor.view.locator(".pnb-monitor-state-now")).to_have_text("ended with its kernel")
    expect(monitor.view.locator('[data-state="gone"]')).to_be_visible()
    monitor.remove_views()


def test_names_are_text(mounted: Callable[..., MountedWidget]) -> None:
    monitor = mounted("monitor", {"frame": frame() | {"model": "<img src=x onerror=alert(1)>"}})
    expect(monitor.view.locator(".pnb-monitor-title")).to_have_text("<img src=x onerror=alert(1)>")
    expect(monitor.view.locator("img")).to_have_count(0)


def test_screen_readers_have_it_in_words(monitor: MountedWidget) -> None:
    region = monitor.view.get_by_role("region", name="pagednb monitor")
    expect(region.get_by_text("Of 24 KV blocks 6 have one owner, 2 are shared, 2 keep a prefix")).to_be_attached()
    expect(region.get_by_role("img", name="24 KV blocks: 6 with one owner, 2 shared")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1000])
def test_it_fits_and_follows_the_theme(
    mounted: Callable[..., MountedWidget], screenshot: Callable[..., object], theme: Theme, width: int
) -> None:
    monitor = mounted("monitor", {"frame": frame()}, theme=theme)
    monitor.page.set_viewport_size({"width": width, "height": 900})
    expect(monitor.view.locator("canvas")).to_be_visible()
    assert monitor.page.evaluate("document.documentElement.scrollWidth") <= width
    ink = monitor.view.locator(".pnb-monitor").evaluate("(element) => getComputedStyle(element).color")
    assert ink == ("rgb(27, 31, 36)" if theme == "light" else "rgb(232, 234, 237)")
    screenshot(f"monitor-{theme}-{width}", monitor.view)


def test_a_theme_that_changes_is_drawn_at_once(monitor: MountedWidget) -> None:
    canvas = monitor.view.get_by_role("img", name="KV blocks")
    before = canvas.screenshot()
    monitor.page.evaluate("document.body.setAttribute('data-jp-theme-light', 'false')")
    expect(monitor.view.locator(".pnb-monitor")).to_have_css("color", "rgb(232, 234, 237)")
    monitor.page.wait_for_timeout(100)
    assert canvas.screenshot() != before
