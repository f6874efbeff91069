"""The monitor in a real JupyterLab: it moves while a cell works, survives a reload, and goes with its view."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable

from playwright.sync_api import expect
from support.lab_notebook import Lab

NOTEBOOKS = pathlib.Path(__file__).resolve().parents[2] / "notebooks"
LOAD = "import pagednb as pnb\nllm = pnb.load(device='cpu', num_gpu_blocks_override=250, max_num_seqs=12)"
WORK = """instruction = "You route tickets of a shop to one of its teams, and answer with the name of that team. " * 3
prompts = [f"{instruction} Ticket {number}: where is my parcel?" for number in range(60)]
params = [pnb.SamplingParams(max_tokens=40 + 4 * number, ignore_eos=True) for number in range(60)]
llm.generate(prompts, params, use_tqdm=False);"""
WATCHING = "pnb.monitor().is_watching"


def test_it_moves_while_a_cell_works(lab: Lab, screenshot: Callable[..., pathlib.Path]) -> None:
    notebook = lab.open([LOAD, "pnb.monitor()", WORK, WATCHING, "pnb.unload()"])
    notebook.run(0, 1)
    monitor = notebook.cell(1).output.locator(".pnb-monitor")
    expect(monitor.locator("canvas")).to_be_visible()
    work = notebook.cell(2)
    with notebook.cell(1).watched() as seen:
        work.start()
        expect(monitor.locator(".pnb-monitor-state-now")).to_have_text("working")
        expect(monitor.get_by_text(re.compile(r"12 running .* [1-9]\d* finished"))).to_be_visible()
        monitor.get_by_role("img", name="KV blocks").hover(position={"x": 9, "y": 9})
        expect(monitor.locator(".pnb-monitor-tip")).to_contain_text("Block 1")
        screenshot("monitor", monitor)
        work.wait()
    assert len(set(seen)) >= 4, "frames came while the kernel was busy"
    expect(monitor.get_by_text(re.compile("0 running · 0 waiting · 60 finished"))).to_be_visible()
    notebook.reload()
    expect(monitor.get_by_text(re.compile("60 finished"))).to_be_visible()
    notebook.run(3)
    expect(notebook.cell(3).output).to_contain_text("True")
    notebook.run(4)
    expect(monitor.get_by_text("No model is loaded.").last).to_be_visible()
    assert notebook.errors == []


def test_nobody_looks_when_the_output_is_gone(lab: Lab) -> None:
    notebook = lab.open([LOAD, "pnb.monitor()", WATCHING])
    notebook.run(0, 1, 2)
    expect(notebook.cell(2).output).to_contain_text("True")
    expect(notebook.cell(1).output.locator(".pnb-monitor canvas")).to_be_visible()
    notebook.command("notebook:clear-all-cell-outputs")
    expect(notebook.page.locator(".pnb-monitor")).to_have_count(0)
    notebook.run(2)
    expect(notebook.cell(2).output).to_contain_text("False")


def test_the_lesson_runs(lab: Lab, screenshot: Callable[..., pathlib.Path]) -> None:
    notebook = lab.open(NOTEBOOKS / "04_how_it_works.ipynb")
    notebook.run()
    assert notebook.errors == []
    pictures = notebook.page.locator("[data-mime-type='image/svg+xml'] img")
    expect(pictures).to_have_count(10)
    assert pictures.evaluate_all("(images) => images.every((image) => image.naturalWidth > 300)")
    screenshot("how-it-works", pictures.nth(4))
