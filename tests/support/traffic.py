"""Random traffic through scheduler and core on the fake executor, each answer compared with the request run alone."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
from support.fake_executor import EOS, VOCAB_SIZE, FakeExecutor, Fault, tokens_alone
from support.fake_grammar import FakeGrammar, fill_fakes
from support.fixed_pace import FixedPace

from pagednb.config import CacheGeometry, SchedulerConfig
from pagednb.engine.core import EngineCore
from pagednb.engine.token_masks import TokenMaskBuilder
from pagednb.kv_cache.prefix_cache import BlockHasher
from pagednb.request import FinishReason, Request, RequestUpdate
from pagednb.sampling_params import SamplingParams
from pagednb.scheduler.preemption import PreemptionCosts
from pagednb.scheduler.scheduler import Scheduler


def make_request(request_id: int, prompt: list[int] | np.ndarray, max_tokens: int = 8, **fields) -> Request:
    """A request whose sampling parameters and seed are chosen unless given."""
    params = fields.pop("sampling_params", SamplingParams(temperature=0.0))
    return Request(
        request_id=request_id,
        prompt_token_ids=np.array(prompt, dtype=np.int32),
        sampling_params=params,
        max_tokens=max_tokens,
        seed=fields.pop("seed", request_id),
        **fields,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """How big everything is."""

    block_size: int = 4
    num_blocks: int = 24
    max_num_seqs: int = 6
    max_num_batched_tokens: int = 64
    enable_prefix_caching: bool = True
    decode_steps: int = 1
    step_tokens: int | None = None  # limit of a step beside max_num_batched_tokens
    logprobs: tuple[int | None, ...] = (None, None, None, 0, 2)  # what requests ask for
    launch_ahead: int = 0  # more than the engine ever asks for: the scheduler must not depend on it
    eos_token_ids: tuple[int, ...] = (EOS,)
    min_shared_prefix_tokens: int | None = None
    constrained: float = 0.0  # share of requests that have a grammar
    append_forced_tokens: bool = True
    num_host_blocks: int = 0
    preemption_mode: str | None = None
    costs: tuple[PreemptionCosts, ...] = (PreemptionCosts(),)  # one after the other, at random steps
    faults: float = 0.0  # share of steps that fail

    @property
    def geometry(self) -> CacheGeometry:
        """The cache; a sequence may fill all of it."""
        return CacheGeometry(
            num_blocks=self.num_blocks,
            block_size=self.block_size,
            max_model_len=self.max_model_len,
            num_host_blocks=self.num_host_blocks,
        )

    @property
    def max_model_len(self) -> int:
        """As much as the cache holds, 160 at most."""
        return min(160, (self.num_blocks - 1) * self.block_size)

    def build(self) -> EngineCore:
        """Scheduler and fake executor of this size."""
        config = SchedulerConfig(
            max_num_seqs=self.max_num_seqs,
            max_num_batched_tokens=self.max_num_batched_tokens,
            max_model_len=self.max_model_len,
            enable_prefix_caching=self.enable_prefix_caching,
            eos_token_ids=self.eos_token_ids,
            min_shared_prefix_tokens=self.min_shared_prefix_tokens,
            append_forced_tokens=self.append_forced_tokens,
            preemption_mode=self.preemption_mode,
        )
        return EngineCore(
            Scheduler(config, self.geometry),
            FakeExecutor(self.geometry),
            launch_ahead=self.launch_ahead,
            pacer=FixedPace(max_decode_steps=self.decode_steps, max_num_tokens=self.step_tokens),
            token_masks=TokenMaskBuilder(VOCAB_SIZE, launch_ahead=self.launch_ahead, fill=fill_fakes),
        )


class Watcher:
    """Steps a core, checks its books every time, and judges every update."""

    def __init__(self, setting: Setting) -> None:
        self.core = setting.build()
        self._eos_token_ids = setting.eos_token_ids
        self.requests: dict[int, Request] = {}
        self.final: dict[int, RequestUpdate] = {}
        self.lost: set[int] = set()  # by faults
        self.order: list[int] = []  # request ids as they finished
        self._seen: dict[int, list[int]] = {}

    def add(self, request: Request) -> None:
        """Submit a request."""
        self.requests[request.request_id] = request
        self._seen[request.request_id] = []
        self.core.scheduler.add(request)

    @property
    def live(self) -> list[int]:
        """Requests under way."""
        return sorted(self.requests.keys() - self.final.keys() - self.lost)

    def step(self) -> list[RequestUpdate]:
        """Run one step; a fault is met as the engine loop meets it."""
        try:
            updates = self.core.step()
        except Fault:
            self.lost.update(self.live)
            self.core.reset()
            updates = []
        assert len({update.request_id for update in updates}) == len(updates), "two updates for one request"
        self.take(updates)
        self.core.scheduler.check_integrity()
        return updates

    def finish(self) -> None:
        """Step until all is done; more steps than all work one token at a time could need mean that someone starves."""
        bound = 100 + 20 * sum(request.max_total_tokens for request in self.requests.values())
        for _ in range(bound):
            if not self.core.has_work:
                break
            self.step()
        assert not self.core.has_work, f"not done after {bound} steps: {self.core.scheduler.stats()}"
        assert not self.live and self.lost.isdisjoint(self.final)
        stats = self.core.scheduler.stats()
        assert (stats.num_used_blocks, stats.num_running, stats.num_waiting) == (0, 0, 0), stats
        assert (stats.num_used_host_blocks, stats.num_swapped) == (0, 0), stats

    def abort(self, request_ids: list[int]) -> None:
        """Abort; requests that have ended already bring nothing."""
        live = set(self.live).intersection(request_ids)
        updates = self.core.scheduler.abort(request_ids)
        assert {update.request_id for update in updates} == live
        self.take(updates)
        self.core.scheduler.check_integrity()

    def take(self, updates: list[RequestUpdate]) -> None:
        """Compare updates with what each request must say alone."""
        for update in updates:
            request = self.requests[update.request_id]
            assert update.request_id not in self.final, f"news of {update.request_id} after its end"
            assert request.wants_updates or not update.new_token_ids
            self._seen[update.request_id] += update.new_token_ids
            if request.sampling_params.num_logprobs is not None:
                told = [int(-details.logprob) for details in update.logprobs]
                assert told == list(update.new_token_ids), f"logprobs of {told} for {update.new_token_ids}"
            if update.finish_reason is not None:
                self.final[update.request_id] = update
                self.order.append(update.request_id)
                self._judge(request, update)

    def tokens_alone(self, request: Request) -> list[int]:
        """What the request would generate without company."""
        return tokens_alone(request, self._eos_token_ids)

    def _judge(self, request: Request, update: RequestUpdate) -> None:
        output, expected = update.output_token_ids.tolist(), self.tokens_alone(request)
        if request.wants_updates:
            assert self._seen[request.request_id] == output, f"told {self._seen[request.request_id]}, made {output}"
        fails_here = request.grammar is not None and request.grammar.fails_after == len(output)
        was_cut = update.finish_reason is FinishReason.ABORT or len(output) < len(expected) or fails_here
        assert output == (expected[: len(output)] if was_cut else expected), f"{output} instead of {expected}"
        if update.finish_reason is FinishReason.LENGTH:
            assert len(output) == request.max_tokens
        if update.finish_reason is FinishReason.STOP and not was_cut:
            is_eos = output[-1] in self._eos_token_ids and not request.sampling_params.ignore_eos
            assert update.stop_token_id == (None if is_eos else output[-1])


class Traffic:
    """Seeded random arrivals, forks, aborts, cache resets and faults."""

    def __init__(self, setting: Setting, seed: int) -> None:
        self.random = random.Random(seed)
        self.setting = setting
        self.watcher = Watcher(setting)
        self.cut_short: set[int] = set()
        self._hasher = BlockHasher(setting.block_size)
        prefix = (setting.max_model_len * 2) // 3
        # equal blocks in different places: what comes before them makes the difference
        self._motifs = [[self._token() for _ in range(setting.block_size)] for _ in range(2)]
        self._prefixes = [[self._token() for _ in range(prefix)] for _ in range(3)]

    def run(self, num_steps: int) -> Watcher:
        """Let ``num_steps`` steps of arrivals pass, then finish."""
        for _ in range(num_steps):
            for event, chance in self._events():
                if self.random.random() < chance:
                    event()
            self._stop_some(self.watcher.step())
        self.watcher.finish()
        for request_id, update in self.watcher.final.items():
            full = self.watcher.tokens_alone(self.watcher.requests[request_id])
            assert request_id in self.cut_short or update.output_token_ids.tolist() == full
        return self.watcher

    def _events(self):
        return (
            (self._arrive, 0.45),
            (self._arrive_with_forks, 0.12),
            (self._fork_a_running_one, 0.08),
            (self._abort_one, 0.06),
            (self._abort_storm, 0.01),
            (self.watcher.core.scheduler.reset_prefix_cache, 0.01),
            *([(self._change_costs, 0.1)] if len(self.setting.costs) > 1 else []),
            *([(self._fail, self.setting.faults)] if self.setting.faults else []),
        )

    def _change_costs(self) -> None:
        self.watcher.core.scheduler.set_preemption_costs(self.random.choice(self.setting.costs))

    def _fail(self) -> None:
        self.watcher.core.executor.fails = self.random.choice(("before", "after"))

    def _token(self) -> int:
        return self.random.randrange(1, VOCAB_SIZE)

    def _prompt(self) -> list[int]:
        longest = self.setting.max_model_len - 1
        shared = self.random.choice(self._prefixes)[: self.random.choice((0, 0, 3, 9, longest))]
        if self.random.random() < 0.2:
            shared = [token for motif in self.random.choices(self._motifs, k=4) for token in motif]
        own = [self._token() for _ in range(self.random.choice((0, 1, 2, 5, 17, 40)))]
        return (shared + own)[:longest] or [self._token()]

    def _arrive(self, prompt: list[int] | None = None, **fields) -> Request:
        prompt = prompt or self._prompt()
        room = self.setting.max_model_len - len(prompt)
        grammar = self._grammar()
        params = SamplingParams(
            temperature=0.0,
            ignore_eos=self.random.random() < 0.5 and grammar is None,
            stop_token_ids=[3, 4] if self.random.random() < 0.2 else None,
            logprobs=self.random.choice(self.setting.logprobs),
        )
        cache_salt = self.random.choice((b"", b"", b"", b"salt"))
        request = make_request(
            len(self.watcher.requests) + 1,
            prompt,
            self.random.randint(1, min(room, 40)),
            sampling_params=params,
            seed=self.random.getrandbits(64),
            stream=self.random.random() < 0.3,
            grammar=grammar,
            cache_salt=cache_salt,
            block_digests=self._digests(prompt, cache_salt),
            **{"priority": self.random.choice((0, 0, 0, -1, 5)), **fields},
        )
        self.watcher.add(request)
        return request

    def _digests(self, prompt: list[int], salt: bytes) -> tuple[bytes, ...]:
        """Name all of the prompt's blocks, as the input processor does, or none or a few of them."""
        digests: list[bytes] = []
        self._hasher.extend(digests, np.array(prompt, dtype=np.int32), salt)
        return tuple(digests[: self.random.choice((0, 1, len(digests), len(digests)))])

    def _grammar(self) -> FakeGrammar | None:
        if not self.setting.constrained or self.random.random() >= self.setting.constrained:
            return None
        fails_after = self.random.randint(0, 9) if self.random.random() < 0.1 else None
        return FakeGrammar(VOCAB_SIZE, eos=EOS, key=self.random.getrandbits(32), fails_after=fails_after)

    def _arrive_with_forks(self) -> None:
        parent = self._arrive()
        for _ in range(self.random.randint(1, 4)):
            self._fork(parent)

    def _fork_a_running_one(self) -> None:
        if live := self.watcher.live:
            self._fork(self.watcher.requests[self.random.choice(live)])

    def _fork(self, parent: Request) -> None:
        priority = self.random.choice((parent.priority, parent.priority, -2))
        self._arrive(parent.prompt_token_ids.tolist(), parent_id=parent.request_id, priority=priority)

    def _abort_one(self) -> None:
        if live := self.watcher.live:
            self._abort([self.random.choice(live), 10**9])

    def _abort_storm(self) -> None:
        self._abort(self.random.sample(list(self.watcher.requests), len(self.watcher.requests) * 3 // 4))

    def _abort(self, request_ids: list[int]) -> None:
        self.cut_short.update(request_ids)
        self.watcher.abort(request_ids)

    def _stop_some(self, updates: list[RequestUpdate]) -> None:
        """As the engine loop does when text met a stop string."""
        for update in updates:
            if update.finish_reason is None and self.random.random() < 0.03:
                self.cut_short.add(update.request_id)
                self.watcher.take([self.watcher.core.scheduler.finish_stopped(update.request_id)])
