"""Swap or recompute: the cheaper one by the figures given, and nothing else."""

from __future__ import annotations

import pytest

from pagednb.scheduler.preemption import SWAP_OVERHEAD_S, LostTokens, PreemptionCosts


def test_the_cheaper_one_is_preferred() -> None:
    # a block of 16 tokens: 2 x 40 us to move, 16 x 5 us to compute
    even = PreemptionCosts(move_s_per_block=40e-6, compute_s_per_token=5e-6)
    faster_bus = PreemptionCosts(move_s_per_block=20e-6, compute_s_per_token=5e-6)
    slower_model = PreemptionCosts(move_s_per_block=40e-6, compute_s_per_token=10e-6)
    for num_blocks in (100, 1000, 10_000):
        sizes = {"num_blocks": num_blocks, "num_tokens": 16 * num_blocks}
        assert not even.prefers_swap(**sizes)
        assert faster_bus.prefers_swap(**sizes)
        assert slower_model.prefers_swap(**sizes)


def test_what_is_short_is_not_worth_the_trouble() -> None:
    costs = PreemptionCosts(move_s_per_block=0.0, compute_s_per_token=1e-6)
    least = int(SWAP_OVERHEAD_S / 1e-6)
    assert not costs.prefers_swap(num_blocks=1, num_tokens=least)
    assert costs.prefers_swap(num_blocks=1, num_tokens=least + 1)


def test_a_block_that_is_nearly_empty_costs_as_much_to_move() -> None:
    costs = PreemptionCosts(move_s_per_block=1e-3, compute_s_per_token=1e-3)
    assert costs.prefers_swap(num_blocks=2, num_tokens=32)
    assert not costs.prefers_swap(num_blocks=2, num_tokens=4)


def test_both_ways_are_counted() -> None:
    costs = PreemptionCosts(move_s_per_block=0.25, compute_s_per_token=0.5)
    assert (costs.swap_s(8), costs.recompute_s(8)) == (SWAP_OVERHEAD_S + 4, 4)


def test_what_is_not_lost_need_be_neither_computed_nor_moved_back() -> None:
    # a block of 16 tokens: 40 us to move, 16 x 25 us to compute
    costs = PreemptionCosts(move_s_per_block=40e-6, compute_s_per_token=25e-6)
    sizes = {"num_blocks": 400, "num_tokens": 6400}
    assert costs.swap_s(400, lost_share=0.5) == pytest.approx(SWAP_OVERHEAD_S + 600 * 40e-6)
    assert costs.recompute_s(6400, lost_share=0.5) == pytest.approx(3200 * 25e-6)
    assert costs.prefers_swap(**sizes, lost_share=0.2)
    assert not costs.prefers_swap(**sizes, lost_share=0.1), "moved out for nothing"


def test_the_lost_share_follows_what_is_seen() -> None:
    lost = LostTokens()
    assert lost.share == 1.0
    for _ in range(60):
        lost.note(num_left=1000, num_lost=100)
    assert lost.share == pytest.approx(0.1, abs=0.01)
    for _ in range(60):
        lost.note(num_left=6000, num_lost=6000)
    assert lost.share == pytest.approx(1.0, abs=0.01)
