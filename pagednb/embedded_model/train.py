"""Train the embedded model again, from nothing: ``python -m pagednb.embedded_model.train --out FOLDER``.

Generates the text, trains the tokenizer, then a small Llama from scratch. Minutes on one data-centre GPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import pathlib
import time
from collections.abc import Iterator

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from pagednb.embedded_model import corpus, tokenizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the result. ``max_seconds`` ends the schedule early on slow hardware."""

    seed: int = 2026
    num_shards: int = 400
    num_epochs: int = 2
    batch_tokens: int = 32768
    peak_lr: float = 2e-3
    warmup_steps: int = 300
    weight_decay: float = 0.1
    prompt_weight: float = 0.03
    compile: bool = False
    max_seconds: float = math.inf


class TokenBatches:
    """All documents on the device, cut into batches of similar length, so that little is padding."""

    def __init__(self, shard: corpus.TokenShard, device: torch.device) -> None:
        self._tokens = torch.from_numpy(shard.tokens).to(device)
        self._is_answer = torch.from_numpy(shard.is_answer).to(device)
        self._lengths = torch.from_numpy(shard.lengths).long()
        self._starts = (self._lengths.cumsum(0) - self._lengths).to(device)
        self._device = device

    def epoch(self, batch_tokens: int, generator: torch.Generator) -> list[torch.Tensor]:
        """Return the document numbers of each batch, in random order."""
        # sorting with a random fraction mixes documents of equal length anew in every epoch
        order = (self._lengths + torch.rand(len(self._lengths), generator=generator)).argsort()
        batches, start = [], 0
        while start < len(order):
            window = self._lengths[order[start : start + batch_tokens // 8]]
            rows = torch.arange(1, len(window) + 1)
            size = int((window * rows <= batch_tokens).sum())  # lengths ascend: the last one is the width
            batches.append(order[start : start + max(size, 1)])
            start += max(size, 1)
        return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]

    def gather(self, documents: torch.Tensor, prompt_weight: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Return tokens and loss weights, each ``[num_documents, width]``; padding is on the right and weighs 0."""
        lengths = self._lengths[documents].to(self._device, non_blocking=True)
        width = int(self._lengths[documents].max())
        columns = torch.arange(width, device=self._device)
        is_valid = columns < lengths[:, None]
        places = torch.where(is_valid, self._starts[documents.to(self._device)][:, None] + columns, 0)
        weights = torch.where(self._is_answer[places], 1.0, prompt_weight) * is_valid
        return self._tokens[places].long(), weights


def model_config(token_ids: dict[str, int]) -> LlamaConfig:
    """Return the architecture: 5.5 million parameters, grouped-query attention, tied embeddings."""
    return LlamaConfig(
        vocab_size=tokenizer.VOCAB_SIZE,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=tokenizer.MAX_POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=token_ids[tokenizer.END_OF_TURN],
        pad_token_id=token_ids[tokenizer.PAD],
    )


def make_tokenizer(out: pathlib.Path, seed: int) -> dict[str, int]:
    """Train and save the tokenizer; return the ids of its special tokens."""
    trained = tokenizer.train_tokenizer(corpus.texts(f"{seed}/tokenizer", 60_000))
    tokenizer.save_tokenizer(trained, out)
    return tokenizer.special_token_ids(trained)


def learning_rate(recipe: Recipe, step: int, progress: float) -> float:
    """Return the rate at a step: linear warm-up, then a cosine down to a fiftieth of the peak."""
    warmup = min((step + 1) / recipe.warmup_steps, 1.0)
    return recipe.peak_lr * warmup * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * min(progress, 1.0))))


def batch_loss(model: LlamaForCausalLM, tokens: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the weighted mean loss of the next token; both tensors are ``[num_documents, width]``."""
    logits = model(input_ids=tokens, use_cache=False).logits[:, :-1].float()  # [num_documents, width - 1, vocab]
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    weights = weights[:, 1:].flatten()
    return (losses * weights).sum() / weights.sum()


def steps_of(batches: TokenBatches, recipe: Recipe) -> Iterator[tuple[float, torch.Tensor]]:
    """Yield (progress from 0 to 1, documents of the batch) for the whole training."""
    generator = torch.Generator().manual_seed(recipe.seed)
    plan = [documents for _ in range(recipe.num_epochs) for documents in batches.epoch(recipe.batch_tokens, generator)]
    begin = time.monotonic()
    for step, documents in enumerate(plan):
        progress = max(step / len(plan), (time.monotonic() - begin) / recipe.max_seconds)
        if progress > 1:
            log(f"stopped after {step} of {len(plan)} steps: {recipe.max_seconds:.0f} s are over")
            return
        yield progress, documents


def train(model: LlamaForCausalLM, batches: TokenBatches, recipe: Recipe) -> None:
    """Train the model in place."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.peak_lr, betas=(0.9, 0.98))
    compute_loss = torch.compile(batch_loss, dynamic=True) if recipe.compile else batch_loss
    begin = time.monotonic()
    for step, (progress, documents) in enumerate(steps_of(batches, recipe)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step, progress)
        tokens, weights = batches.gather(documents, recipe.prompt_weight)
        with torch.autocast(tokens.device.type, dtype=torch.bfloat16):
            loss = compute_loss(model, tokens, weights)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 100 == 0:
            log(f"step {step:6d}  {progress:6.1%}  loss {loss.item():.4f}  {time.monotonic() - begin:6.1f} s")


def save_model(model: LlamaForCausalLM, out: pathlib.Path, token_ids: dict[str, int]) -> None:
    """Write config, generation config and bfloat16 weights."""
    ends = [token_ids[tokenizer.END_OF_TURN], token_ids[tokenizer.END_OF_TEXT]]
    model.generation_config = GenerationConfig(eos_token_id=ends, pad_token_id=token_ids[tokenizer.PAD])
    model.to(torch.bfloat16).save_pretrained(out)


def build(out: pathlib.Path, recipe: Recipe, device: torch.device, num_processes: int) -> None:
    """Make tokenizer, text and weights, and write the whole folder."""
    begin = time.monotonic()
    token_ids = make_tokenizer(out, recipe.seed)
    log(f"tokenizer after {time.monotonic() - begin:.0f} s")
    shards = corpus.make_shards(out / "tokenizer.json", recipe.seed, recipe.num_shards, num_processes)
    shard = corpus.TokenShard.join(list(shards))
    log(f"{len(shard.lengths)} documents, {len(shard.tokens)} tokens after {time.monotonic() - begin:.0f} s")
    torch.manual_seed(recipe.seed)
    model = LlamaForCausalLM(model_config(token_ids)).to(device)
    log(f"{sum(parameter.numel() for parameter in model.parameters())} parameters")
    train(model, TokenBatches(shard, device), recipe)
    save_model(model, out, token_ids)
    log(f"saved to {out} after {time.monotonic() - begin:.0f} s")


def log(line: str) -> None:
    """Print a line of progress at once."""
    print(line, flush=True)  # noqa: T201 - this module is a command


def main() -> None:
    """Parse the command line and build the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder to write")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    for field in dataclasses.fields(Recipe):
        flag = "--" + field.name.replace("_", "-")
        if isinstance(field.default, bool):
            parser.add_argument(flag, action="store_true")
        else:
            parser.add_argument(flag, type=type(field.default), default=field.default)
    options = vars(parser.parse_args())
    recipe = Recipe(**{field.name: options[field.name] for field in dataclasses.fields(Recipe)})
    build(options["out"], recipe, torch.device(options["device"]), options["processes"])


if __name__ == "__main__":
    main()
