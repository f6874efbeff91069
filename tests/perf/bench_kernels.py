"""Time every kernel on this machine's GPU at the shapes of Llama-3.1-8B and Qwen3-0.6B, beside plain torch.

    python tests/perf/bench_kernels.py            the table (under 90 s)
    python tests/perf/bench_kernels.py --check    one quick correctness check an op, no timing
    python tests/perf/bench_kernels.py --only decode

Calls are captured in a CUDA graph and its replays timed with a cold L2 cache, so the figures are the GPU's own;
``host`` is what a call costs the thread that launches it. Memory-bound ops are set against the card's measured copy
bandwidth, prefill attention against its measured matrix rate. The last line is one JSON document.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
import triton.testing
from decode_cases import DecodeCase, decode_cases
from prefill_cases import PrefillCase, prefill_cases
from torch.nn.attention.bias import causal_lower_right

from pagednb.kernels.kernel_set import torch_kernels, triton_kernels

COPY_TB_S = 4.26  # NVIDIA H200: device copy, read + written
MATMUL_TFLOP_S = 790.0  # NVIDIA H200: bf16 matrix product, 8192^3
DTYPE = torch.bfloat16
BLOCK_SIZE = 16
VOCAB = 128_256


@dataclasses.dataclass(frozen=True)
class Model:
    name: str
    hidden: int
    intermediate: int
    num_q_heads: int
    num_kv_heads: int
    head_dim: int
    has_head_norm: bool


MODELS = (
    Model("llama-8b", 4096, 14336, 32, 8, 128, has_head_norm=False),
    Model("qwen3-0.6b", 1024, 3072, 16, 8, 128, has_head_norm=True),
)


@dataclasses.dataclass(frozen=True)
class Row:
    """One call to time. ``amount`` is bytes or, for prefill attention, floating point operations."""

    op: str
    shape: str
    run: Callable[[], torch.Tensor | tuple[torch.Tensor, ...]]
    peer: Callable[[], torch.Tensor | tuple[torch.Tensor, ...]] | None
    amount: float
    is_compute: bool = False


def rand(*shape: int) -> torch.Tensor:
    return torch.randn(shape, device="cuda", dtype=DTYPE)


def elementwise_rows(kernels: object) -> Iterator[Row]:
    for model in MODELS:
        for tokens in (1, 512, 8192):
            x, residual, weight = rand(tokens, model.hidden), rand(tokens, model.hidden), rand(model.hidden)
            yield Row(
                "add_rms_norm",
                f"{model.name} T={tokens}",
                lambda x=x, r=residual, w=weight: kernels.add_rms_norm(x, r, w, 1e-5),
                lambda x=x, r=residual, w=weight: F.rms_norm(r.add_(x), w.shape, w, 1e-5),
                4 * x.nbytes,
            )
            gate_up = rand(tokens, 2 * model.intermediate)
            yield Row(
                "silu_and_mul",
                f"{model.name} T={tokens}",
                lambda g=gate_up: kernels.silu_and_mul(g),
                lambda g=gate_up: F.silu(g[:, : g.shape[1] // 2]) * g[:, g.shape[1] // 2 :],
                1.5 * gate_up.nbytes,
            )
            yield rope_row(kernels, model, tokens)


def rope_row(kernels: object, model: Model, tokens: int) -> Row:
    qkv = rand(tokens, (model.num_q_heads + 2 * model.num_kv_heads) * model.head_dim)
    cache_shape = (tokens // BLOCK_SIZE + 2, model.num_kv_heads, BLOCK_SIZE, model.head_dim)
    norm = rand(model.head_dim) if model.has_head_norm else None
    slots = torch.arange(tokens, device="cuda")
    arguments = (qkv, slots, slots, rand(*cache_shape), rand(*cache_shape))
    options = {"num_q_heads": model.num_q_heads, "q_norm_weight": norm, "k_norm_weight": norm}
    options["cos_sin"] = torch.randn(8192, model.head_dim, device="cuda")
    return Row(
        "rope_and_cache",
        f"{model.name} T={tokens}",
        lambda: kernels.rope_and_cache(*arguments, **options),
        lambda: torch_kernels().rope_and_cache(*arguments, **options),
        2 * qkv.nbytes,
    )


def paged(
    model: Model, lengths: list[int], num_shared: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random caches, shuffled block tables and lengths; the first ``num_shared`` keys lie in the first row's blocks."""
    counts = [-(-n // BLOCK_SIZE) for n in lengths]
    order = (torch.randperm(sum(counts)) + 1).int()
    tables = torch.zeros((len(lengths), max(counts)), dtype=torch.int32)
    for row, blocks in zip(tables, order.split(counts), strict=True):
        row[: len(blocks)] = blocks
    tables[:, : num_shared // BLOCK_SIZE] = tables[0, : num_shared // BLOCK_SIZE]
    shape = (sum(counts) + 1, model.num_kv_heads, BLOCK_SIZE, model.head_dim)
    return rand(*shape), rand(*shape), tables.cuda(), torch.tensor(lengths, dtype=torch.int32, device="cuda")


def decode_rows(kernels: object) -> Iterator[Row]:
    for model in MODELS:
        for batch in (1, 64, 512):
            for context in (256, 700, 2000):
                k_cache, v_cache, tables, seq_lens = paged(model, [context] * batch)
                q = rand(batch, model.num_q_heads, model.head_dim)
                dense = [rand(batch, model.num_kv_heads, context, model.head_dim) for _ in range(2)]
                yield Row(
                    "decode",
                    f"{model.name} B={batch} ctx={context}",
                    lambda a=(q, k_cache, v_cache, tables, seq_lens), n=context: kernels.paged_decode_attention(
                        *a, scale=0.09, max_seq_len=n
                    ),
                    lambda q=q, kv=dense: F.scaled_dot_product_attention(q.unsqueeze(2), *kv, enable_gqa=True),
                    2 * batch * context * model.num_kv_heads * model.head_dim * DTYPE.itemsize,
                )


def ragged_rows(kernels: object) -> Iterator[Row]:
    for model in MODELS:
        for name, case in decode_cases().items():
            yield ragged_row(kernels, model, name, case)


def ragged_row(kernels: object, model: Model, name: str, case: DecodeCase) -> Row:
    """A step of several layers, which is long enough to time and finds no layer's keys in the L2 cache."""
    num_layers = 4 if len(case.seq_lens) > 16 else 28
    *cache, tables, seq_lens = paged(model, case.seq_lens, case.num_shared)
    caches = [cache] + [[torch.randn_like(x) for x in cache] for _ in range(num_layers - 1)]
    q = rand(len(case.seq_lens), model.num_q_heads, model.head_dim)

    def run() -> torch.Tensor:
        settings = {"scale": 0.09, "max_seq_len": case.max_seq_len}
        return [kernels.paged_decode_attention(q, *kv, tables, seq_lens, **settings) for kv in caches][-1]

    num_bytes = 2 * sum(case.seq_lens) * model.num_kv_heads * model.head_dim * DTYPE.itemsize
    return Row("decode", f"{model.name} {name}, {num_layers} layers", run, None, num_layers * num_bytes)


def shared_prefix_rows(kernels: object) -> Iterator[Row]:
    """Beside our own decode attention, which reads the prefix again for every row; ``label`` has 512 tokens of it."""
    for model in MODELS:
        for batch in (32, 64, 128, 512, 1024):
            for prefix in (128, 512, 2048):
                own_lens = [32 + i * 37 % 233 for i in range(batch)]
                *inputs, seq_lens = paged(model, [prefix + n for n in own_lens], prefix)
                arguments = (rand(batch, model.num_q_heads, model.head_dim), *inputs, seq_lens)
                prefix_lens = torch.full_like(seq_lens, prefix)
                settings = {"scale": 0.09, "max_seq_len": prefix + max(own_lens)}
                yield Row(
                    "shared_prefix",
                    f"{model.name} B={batch} prefix={prefix}",
                    lambda a=(*arguments, prefix_lens), s=settings: kernels.shared_prefix_attention(*a, **s),
                    lambda a=arguments, s=settings: kernels.paged_decode_attention(*a, **s),
                    2 * (prefix + sum(own_lens)) * model.num_kv_heads * model.head_dim * DTYPE.itemsize,
                )


def prefill_rows(kernels: object) -> Iterator[Row]:
    for model in MODELS:
        for name, case in prefill_cases().items():
            k_cache, v_cache, tables, seq_lens = paged(model, case.seq_lens, case.num_shared)
            q = rand(sum(case.query_lens), model.num_q_heads, model.head_dim)
            starts = torch.tensor([0, *case.query_lens], device="cuda").cumsum(0, dtype=torch.int32)
            arguments = (q, k_cache, v_cache, tables, starts, seq_lens)
            longest = max(case.query_lens)
            yield Row(
                "prefill",
                f"{model.name} {name}",
                lambda a=arguments, n=longest: kernels.paged_prefill_attention(*a, scale=0.09, max_query_len=n),
                dense_prefill(model, case),
                4 * case.num_pairs * model.num_q_heads * model.head_dim,
                is_compute=True,
            )


def dense_prefill(model: Model, case: PrefillCase) -> Callable[[], torch.Tensor] | None:
    """Return torch's attention of a dense batch of the same chunks, where they are all alike."""
    if not case.is_even:
        return None
    query_len, seq_len = case.chunks[0]
    q = rand(len(case.chunks), model.num_q_heads, query_len, model.head_dim)
    k, v = (rand(len(case.chunks), model.num_kv_heads, seq_len, model.head_dim) for _ in range(2))
    if query_len == seq_len:
        return lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    mask = causal_lower_right(query_len, seq_len)
    return lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)


def sampler_rows(kernels: object) -> Iterator[Row]:
    for batch in (1, 256, 512):
        logits = torch.randn(batch, VOCAB, device="cuda") * 2
        indices = torch.arange(batch, device="cuda")
        for name, temperature, top_k, top_p in (
            ("greedy", 0.0, 0, 1.0),
            ("temperature", 0.7, 0, 1.0),
            ("top_k 20, top_p .95", 0.7, 20, 0.95),
            ("top_p .9", 0.7, 0, 0.9),
        ):
            columns = [torch.full((batch,), value, device="cuda") for value in (temperature, top_k, top_p, 0.0)]
            columns[1] = columns[1].int()
            has_filters = top_p < 1
            yield Row(
                "sample",
                f"B={batch} {name}",
                lambda a=(logits, *columns, indices, indices), f=has_filters: kernels.sample_tokens(*a, has_filters=f),
                lambda x=logits, t=temperature, k=top_k, p=top_p: torch_sample(x, t, k, p),
                logits.nbytes,
            )


def torch_sample(logits: torch.Tensor, temperature: float, top_k: int, top_p: float) -> torch.Tensor:
    """The usual torch sampler: argmax, or softmax and exponential noise, after a sort when filtered."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    logits = logits / temperature
    if top_p < 1:
        ranked, order = logits.sort(dim=-1, descending=True)
        if top_k:
            ranked[:, top_k:] = -torch.inf
        probs = ranked.softmax(dim=-1)
        ranked = ranked.masked_fill(probs.cumsum(dim=-1) - probs >= top_p, -torch.inf)
        logits = torch.empty_like(logits).scatter_(1, order, ranked)
    probs = logits.softmax(dim=-1)
    return (probs / torch.empty_like(probs).exponential_()).argmax(dim=-1)


def logprob_rows(kernels: object) -> Iterator[Row]:
    """Five labels' first tokens and the sampled one, of as many rows as end their prompts in one step."""
    for batch in (1, 48, 512):
        logits = rand(batch, VOCAB)
        token_ids = torch.randint(VOCAB, (batch, 6), device="cuda")
        yield Row(
            "token_logprobs",
            f"B={batch} 6 tokens",
            lambda a=(logits, token_ids): kernels.token_logprobs(*a, None),
            lambda x=logits, i=token_ids: x.float().log_softmax(dim=-1).gather(1, i),
            logits.nbytes,
        )


SECTIONS = {
    "elementwise": elementwise_rows,
    "decode": decode_rows,
    "ragged": ragged_rows,
    "shared_prefix": shared_prefix_rows,
    "prefill": prefill_rows,
    "sample": sampler_rows,
    "logprobs": logprob_rows,
}


def gpu_ms(run: Callable[[], object]) -> float:
    run()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return triton.testing.do_bench(graph.replay, warmup=5, rep=30, return_mode="median")


def host_us(run: Callable[[], object], repeats: int = 20) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    elapsed = time.perf_counter() - start
    torch.cuda.synchronize()
    return elapsed / repeats * 1e6


def report(section: str) -> list[dict[str, object]]:
    results = []
    for row in SECTIONS[section](triton_kernels()):
        ours = gpu_ms(row.run)
        peer = gpu_ms(row.peer) if row.peer else None
        rate = row.amount / ours / 1e9  # T a second
        ceiling, unit = (MATMUL_TFLOP_S, "TFLOP/s") if row.is_compute else (COPY_TB_S, "TB/s")
        result = {"op": row.op, "shape": row.shape, "ms": round(ours, 4), "rate": round(rate, 2), "unit": unit}
        result |= {"of_ceiling": round(rate / ceiling, 3), "host_us": round(host_us(row.run), 1)}
        result["torch_ms"] = peer and round(peer, 4)
        results.append(result)
        print(
            f"{row.op:15s} {row.shape:40s} {ours * 1e3:9.1f} us {rate:7.2f} {unit:7s} {rate / ceiling:4.0%}"
            f"  host {result['host_us']:6.1f} us  torch {'-' if peer is None else f'{peer * 1e3:9.1f} us'}",
            flush=True,
        )
    return results


def check() -> None:
    """Compare every op with its torch reference, run in float32 on the same inputs."""
    ours, theirs = triton_kernels(), torch_kernels()
    model = MODELS[1]
    x, weight = rand(33, model.hidden), rand(model.hidden)
    show("rms_norm", ours.rms_norm(x, weight, 1e-5), theirs.rms_norm(x.float(), weight, 1e-5))
    gate_up = rand(33, 2 * model.intermediate)
    show("silu_and_mul", ours.silu_and_mul(gate_up), theirs.silu_and_mul(gate_up.float()))
    lengths = [1, 17, 300, 1025]
    k, v, tables, seq_lens = paged(model, lengths)
    wide = (k.float(), v.float(), tables)
    q = rand(len(lengths), model.num_q_heads, model.head_dim)
    options = {"scale": 0.09, "max_seq_len": 1025}
    show(
        "paged_decode_attention",
        ours.paged_decode_attention(q, k, v, tables, seq_lens, **options),
        theirs.paged_decode_attention(q.float(), *wide, seq_lens, **options),
    )
    starts = torch.tensor([0, 1, 10, 200, 1225], dtype=torch.int32, device="cuda")
    q = rand(1225, model.num_q_heads, model.head_dim)
    options = {"scale": 0.09, "max_query_len": 1025}
    show(
        "paged_prefill_attention",
        ours.paged_prefill_attention(q, k, v, tables, starts, seq_lens, **options),
        theirs.paged_prefill_attention(q.float(), *wide, starts, seq_lens, **options),
    )
    rope = rope_row(ours, model, 100)
    show("rope_and_cache", rope.run(), rope.peer())
    logits = torch.randn(16, VOCAB, device="cuda")
    columns = [torch.full((16,), value, device="cuda") for value in (0.7, 50, 0.9, 0.0)]
    rows = torch.arange(16, device="cuda")
    arguments = (logits, columns[0], columns[1].int(), *columns[2:], rows, rows)
    drawn = [kernels.sample_tokens(*arguments, has_filters=True) for kernels in (ours, theirs)]
    token_ids = torch.randint(VOCAB, (16, 6), device="cuda")
    show("token_logprobs", *(kernels.token_logprobs(logits, token_ids, None)[0] for kernels in (ours, theirs)))
    print(f"{'sample_tokens':24s} equal tokens {int((drawn[0] == drawn[1]).sum())} of 16")


def show(op: str, out: torch.Tensor, expected: torch.Tensor) -> None:
    out, expected = out.double(), expected.double()
    ratio = float((out - expected).square().mean().sqrt() / expected.square().mean().sqrt())
    print(f"{op:24s} error {ratio:.2e}  {'ok' if ratio < 8e-3 else 'WRONG'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="check every op once, time nothing")
    parser.add_argument("--only", choices=SECTIONS, help="time one section")
    options = parser.parse_args()
    if options.check:
        return check()
    sections = [options.only] if options.only else list(SECTIONS)
    results = [result for section in sections for result in report(section)]
    print(json.dumps({"device": torch.cuda.get_device_name(), "torch": torch.__version__, "results": results}))
    return None


if __name__ == "__main__":
    main()
