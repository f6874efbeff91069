"""Latencies and cells, against numbers worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pagednb.benchmark.figures import Figures, figure_row, figure_rows, latencies, percentile
from pagednb.outputs import CompletionOutput, RequestMetrics, RequestOutput


def make_output(request_id: int, arrival_s: float, finished_s: float, num_tokens: int) -> RequestOutput:
    completion = CompletionOutput(index=0, text="", token_ids=tuple(range(num_tokens)), finish_reason="length")
    return RequestOutput(
        request_id=str(request_id),
        prompt=None,
        prompt_token_ids=(1,),
        outputs=(completion,),
        metrics=RequestMetrics(arrival_s=arrival_s, finished_s=finished_s),
    )


def test_latencies_of_each_request() -> None:
    outputs = [make_output(4, 10.0, 12.5, 11), make_output(2, 10.5, 11.0, 1), make_output(9, 10.0, 14.0, 2)]
    times = latencies(outputs, {2: 11.0, 4: 10.5, 9: 13.0})
    assert times.ttft_ms.tolist() == pytest.approx([500, 500, 3000])
    assert times.tpot_ms.tolist() == pytest.approx([200, 1000])  # one token has no next


def test_percentiles_lie_between_neighbours() -> None:
    assert percentile([1.0, 2.0, 4.0], 50) == 2.0
    assert percentile(np.arange(101.0), 99) == pytest.approx(99.0)
    assert percentile([], 50) is None


def test_every_figure_has_a_row_and_shares_become_percent() -> None:
    rows = {row.name: row for row in figure_rows()}
    assert len({row.heading for row in rows.values()}) == len(rows)
    assert rows["share_kept"].text(0.705) == "70.5"
    assert rows["share_kept"].text_with_unit(0.705) == "70.5 %"
    assert rows["seconds"].heading == "time (s)"
    assert figure_row("seconds") == rows["seconds"]
    assert rows["out_tokens_per_s"].text(12345.6) == "12,346"
    assert rows["tpot_p50_ms"].text(None) == "-"
    assert rows["num_preemptions"].text(0) == "0"


def test_json_holds_what_there_is() -> None:
    assert json.loads(json.dumps(Figures(seconds=1.5, num_preemptions=0).as_dict())) == {
        "seconds": 1.5,
        "num_preemptions": 0,
    }
