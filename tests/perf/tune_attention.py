"""Try tile sizes, warps and pipeline stages of the attention kernels on this machine's GPU; print the best first.

    python tests/perf/tune_attention.py decode|prefill

The winners are written by hand into each kernel's ``_tile_launch``: choosing at run time would cost every user
the search, and make results depend on the machine's mood.
"""

from __future__ import annotations

import itertools
import sys

import triton
from bench_kernels import SECTIONS, gpu_ms

from pagednb.kernels import paged_decode_attention, paged_prefill_attention
from pagednb.kernels.kernel_set import triton_kernels

DECODE = [
    {"BLOCK_N": n, "num_warps": w, "num_stages": s} for n, w, s in itertools.product((32, 64, 128), (2, 4), (2, 3, 4))
]
PREFILL = [
    {"BLOCK_M": m, "BLOCK_N": n, "num_warps": w, "num_stages": s}
    for m, n, w, s in itertools.product((64, 128), (32, 64, 128), (4, 8), (2, 3))
]
PREFILL += [config | {"maxnreg": 128} for config in PREFILL if config["BLOCK_M"] == 128 and config["num_warps"] == 8]


def times(section: str) -> list[float]:
    wanted = ("B=64 ctx=700", "B=512 ctx=700", "B=1 ctx=2000", "8 x 1024", "1 x 8192", "label step")
    rows = SECTIONS[section](triton_kernels())
    return [gpu_ms(row.run) for row in rows if row.shape.startswith("llama") and row.shape.endswith(wanted)]


def main() -> None:
    section = sys.argv[1]
    module, name, configs = {
        "decode": (paged_decode_attention, "_tile_launch", DECODE),
        "prefill": (paged_prefill_attention, "_tile_launch", PREFILL),
    }[section]
    results = []
    for config in configs:
        setattr(module, name, lambda *_, config=config: config)
        try:
            results.append((times(section), config))
        except (triton.OutOfResources, triton.CompilationError) as error:
            print(config, type(error).__name__)
    for measured, config in sorted(results, key=lambda result: sum(result[0])):
        print(" ".join(f"{ms * 1e3:8.1f} us" for ms in measured), config)


if __name__ == "__main__":
    main()
