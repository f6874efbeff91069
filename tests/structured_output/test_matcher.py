"""Masks against what they mean: token by token with ``regex``'s partial matches, and against xgrammar."""

from __future__ import annotations

import itertools
import json
import random
import threading

import numpy as np
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from support.random_schemas import schemas, undisputed_schemas
from support.tiny_tokenizers import byte_fallback_backend, byte_level_backend

from pagednb.errors import NotSupportedYetError, OptionError, SchemaError
from pagednb.sampling_params import SamplingParams
from pagednb.structured_output import compiler as compiler_module
from pagednb.structured_output.automata import Automata
from pagednb.structured_output.compiler import GrammarCompiler
from pagednb.structured_output.mask_filler import MaskFiller
from pagednb.structured_output.matcher import ConstraintFailure, TokenGrammar, TokenMatcher, Vocabulary, num_words

EOS = 1
# GPT-2's spelling of bytes: those that can be seen stand for themselves
_SEEN = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_UNSEEN = [code for code in range(256) if code not in _SEEN]
_BYTE_OF = {chr(code): code for code in _SEEN} | {chr(256 + i): code for i, code in enumerate(_UNSEEN)}
# each matches the same texts when it is read as an expression over bytes
REGEXES = ["ab|a", "[a-c]{2,4}x*", "(the |fox){1,3}", "naïve|café", r"[0-9]+\.[0-9]{2}", "(😀)*!", "a{3}|b?c+d"]


def vocabulary() -> list[bytes | None]:
    """The bytes of every token of the byte-level tokenizer; None for special ones."""
    backend = byte_level_backend()
    tokens = [backend.id_to_token(i) for i in range(backend.get_vocab_size())]
    return [None if i < 2 else bytes(_BYTE_OF[char] for char in token) for i, token in enumerate(tokens)]


VOCABULARY = vocabulary()


def compile_(vocab_size: int = len(VOCABULARY), **constraint: object) -> TokenGrammar:
    compiler = GrammarCompiler(byte_level_backend(), vocab_size=vocab_size, eos_token_ids=(EOS,))
    made = SamplingParams(**constraint).constraint
    assert made is not None
    return compiler.compile(made)


def allowed(matcher: TokenMatcher, vocab_size: int = len(VOCABULARY)) -> set[int]:
    words = np.empty(matcher.num_words, dtype=np.int32)
    matcher.fill(words)
    return set(np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little")[:vocab_size]).tolist())


def can_begin(pattern: regex.Pattern, text: bytes) -> bool:
    """Whether some match begins with these bytes."""
    return pattern.fullmatch(text, partial=True) is not None


def is_one_text(tokens: set[int]) -> bool:
    """Whether each token begins the next longer one: the text that follows is forced, and one spelling may do."""
    texts = sorted((VOCABULARY[token] or b"" for token in tokens), key=len)
    return all(longer.startswith(shorter) for shorter, longer in itertools.pairwise(texts))


@pytest.mark.parametrize("expression", REGEXES)
def test_masks_are_what_can_still_match(expression: str) -> None:
    pattern, randomness = regex.compile(expression.encode()), random.Random(0)
    grammar = compile_(regex=expression)
    for _ in range(12):
        matcher, text = grammar.matcher(), b""
        for _ in range(8):
            expected = {i for i, token in enumerate(VOCABULARY) if token and can_begin(pattern, text + token)}
            is_complete = pattern.fullmatch(text) is not None
            assert matcher.is_complete == is_complete
            tokens = allowed(matcher) - {EOS}
            assert (EOS in allowed(matcher)) == is_complete
            assert tokens == expected or (tokens < expected and is_one_text(expected)), (tokens, expected)
            if not expected:
                break
            token = randomness.choice(sorted(expected))
            matcher.take(np.array([token]))
            text += VOCABULARY[token] or b""


@pytest.mark.parametrize("vocab_size", [2, 257, len(VOCABULARY)])
def test_many_masks_at_once_are_those_one_by_one(vocab_size: int) -> None:
    """Matchers of several grammars in all states, some of them failed; what the model does not know helps none."""
    matchers = []
    for expression in REGEXES:
        root = compile_(regex=expression)._automata.root
        automata = Automata(lambda root=root: root.deep_copy(), max_families=2)
        grammar = TokenGrammar(automata, Vocabulary(vocab_size, 320, (EOS,)))
        matchers += [grammar.matcher() for _ in range(3)]
        assert [matcher.family for matcher in matchers[-3:]] == [0, 1, 0]
        with pytest.raises(ConstraintFailure):
            matchers[-1].take(np.array([VOCABULARY.index(b"~")]))
    words = np.zeros((len(matchers), num_words(320)), dtype=np.int32)
    failed = set(MaskFiller().fill(matchers, words))
    for index, matcher in enumerate(matchers):
        alone = np.zeros(num_words(320), dtype=np.int32)
        try:
            matcher.fill(alone)
        except ConstraintFailure:
            assert index in failed
        else:
            assert index not in failed and words[index].tolist() == alone.tolist()
    assert failed >= set(range(2, len(matchers), 3))
    assert (len(failed) == len(matchers)) == (vocab_size == 2)


def test_a_constraint_that_starts_later_leaves_free_what_comes_before() -> None:
    """It starts after the first THINK of an answer, wherever a step's tokens end."""
    think, (a, b, *_) = 300, (VOCABULARY.index(text) for text in (b"a", b"b", b"x"))
    for steps in (
        [[7, 9], [think], [a]],
        [[7, 9, think, a]],
        [[7], [9, think, a]],
        [[think], [a]],
        [[7, 7, think], [a]],
    ):
        matcher = compile_(regex="ab").starting_after(think).matcher()
        assert matcher.forced() == [] and not matcher.has_started and not matcher.is_complete
        for tokens in steps:
            filled = np.zeros((2, matcher.num_words), dtype=np.int32)
            assert MaskFiller().fill([matcher, compile_(regex="ab").matcher()], filled) == []
            assert matcher.has_started or allowed(matcher) == set(range(len(VOCABULARY))) - {EOS}
            alone = np.empty(matcher.num_words, dtype=np.int32)
            matcher.fill(alone)
            assert filled[0].tolist() == alone.tolist()
            matcher.take(np.array(tokens))
        assert matcher.num_tokens == sum(map(len, steps)) and matcher.has_started
        assert allowed(matcher) == {b} and allowed(matcher.clone()) == {b}
    assert compile_(regex="ab").starting_after(think).first_token_ids == ()


@settings(max_examples=60, deadline=None)
@given(schema=schemas, seed=st.integers(0, 2**31))
def test_forced_tokens_are_the_only_ones_in_their_masks(schema: dict[str, object], seed: int) -> None:
    """So a run that is appended is what sampling one by one would have brought."""
    try:
        grammar = compile_(schema=schema)
    except (OptionError, SchemaError):
        return
    matcher, randomness = grammar.matcher(), random.Random(seed)
    assert matcher.forced() == list(grammar.first_token_ids)
    for _ in range(40):
        one_by_one = matcher.clone()
        for token in matcher.forced():
            assert allowed(one_by_one) == {token}
            one_by_one.take(np.array([token]))
        tokens = sorted(allowed(matcher) - {EOS})
        if not tokens:
            return
        matcher.take(np.array([randomness.choice(tokens)]))


@pytest.mark.parametrize("vocab_size", [300, len(VOCABULARY)])
def test_tokens_that_the_model_does_not_know_are_not_forced(vocab_size: int) -> None:
    last = VOCABULARY[-1]
    assert last is not None
    grammar = compile_(vocab_size, regex=f"!{last.decode()}[ab]")
    assert (VOCABULARY.index(last) in grammar.first_token_ids) == (vocab_size == len(VOCABULARY))


def test_a_clone_goes_its_own_way() -> None:
    matcher = compile_(choices=["the fox", "the dog"]).matcher()
    matcher.take(np.array(byte_level_backend().encode("the ", add_special_tokens=False).ids))
    before, clone = allowed(matcher), matcher.clone()
    clone.take(np.array([min(before)]))
    assert allowed(matcher) == before != allowed(clone)
    assert clone.num_tokens == matcher.num_tokens + 1


def test_a_token_that_does_not_match_is_a_failure() -> None:
    matcher = compile_(regex="a+").matcher()
    with pytest.raises(ConstraintFailure):
        matcher.take(np.array([VOCABULARY.index(b"b")]))


@pytest.mark.parametrize("vocab_size", [300, 320, 321, 352, 1000])
def test_the_model_may_know_fewer_or_more_tokens(vocab_size: int) -> None:
    tokens = allowed(compile_(vocab_size, regex="[a-z ]+").matcher(), vocab_size)
    whole = allowed(compile_(regex="[a-z ]+").matcher())
    assert tokens == {token for token in whole if token < vocab_size}


def test_byte_fallback_tokenizers_work() -> None:
    grammar = GrammarCompiler(byte_fallback_backend(), vocab_size=270, eos_token_ids=(EOS,)).compile(
        SamplingParams(choices=["é", "日"]).constraint
    )
    backend, matcher, text = byte_fallback_backend(), grammar.matcher(), []
    while tokens := allowed(matcher, 270) - {EOS}:
        text.append(max(tokens))
        matcher.take(np.array(text[-1:]))
    assert backend.decode(text) in ("é", "日")


def test_choices_are_literal() -> None:
    texts = ["a.b", "a*", "(x|y)", "[z]", "^$", "back\\slash", 'quo"te', "new\nline", "/", "a b", "#", "é{2}", "-"]
    grammar = compile_(choices=texts)
    for text in [*texts, "axb", "aa", "x", "z", "", "éé"]:
        matcher = grammar.matcher()
        try:
            matcher.take(np.array(byte_level_backend().encode(text, add_special_tokens=False).ids, dtype=np.int32))
        except ConstraintFailure:
            assert text not in texts
            continue
        assert matcher.is_complete == (text in texts), text


def test_equal_constraints_share_an_automaton_and_the_oldest_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler_module, "MAX_KEPT", 2)
    compiler = GrammarCompiler(byte_level_backend(), vocab_size=320, eos_token_ids=(EOS,))
    a, b, c = (SamplingParams(regex=text).constraint for text in "abc")
    first = compiler.compile(a)
    compiler.compile(b)
    assert compiler.compile(a) is first
    second = compiler.compile(b)
    compiler.compile(c)
    assert compiler.compile(b) is second
    assert compiler.compile(a) is not first


def test_threads_may_compile_at_once() -> None:
    compiler = GrammarCompiler(byte_level_backend(), vocab_size=320, eos_token_ids=(EOS,))
    made: list[TokenGrammar] = []
    constraint = SamplingParams(schema={"a": int}).constraint
    threads = [threading.Thread(target=lambda: made.append(compiler.compile(constraint))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8 and len({id(grammar) for grammar in made}) == 1


def test_refusals_are_sentences() -> None:
    with pytest.raises(NotSupportedYetError, match="no end token"):
        GrammarCompiler(byte_level_backend(), vocab_size=320, eos_token_ids=()).compile(
            SamplingParams(regex="a").constraint
        )
    with pytest.raises(OptionError, match="no token of the model fits"):
        compile_(vocab_size=3, regex="a")


@settings(max_examples=100, deadline=None)
@given(schema=undisputed_schemas, seed=st.integers(0, 2**31))
def test_xgrammar_allows_the_same(schema: dict[str, object], seed: int) -> None:
    xgrammar = pytest.importorskip("xgrammar")
    matcher, randomness = compile_(schema=schema).matcher(), random.Random(seed)
    names = [byte_level_backend().id_to_token(i) for i in range(len(VOCABULARY))]
    info = xgrammar.TokenizerInfo(names, vocab_type=xgrammar.VocabType.BYTE_LEVEL, stop_token_ids=[EOS])
    compiled = xgrammar.GrammarCompiler(info, max_threads=1).compile_json_schema(
        json.dumps(schema), any_whitespace=False, separators=(",", ":"), strict_mode=True
    )
    second, mask = xgrammar.GrammarMatcher(compiled), xgrammar.allocate_token_bitmask(1, len(VOCABULARY))
    for _ in range(60):
        ours = allowed(matcher)
        second.fill_next_token_bitmask(mask)
        bits = np.unpackbits(mask.numpy().view(np.uint8)[0], bitorder="little")[: len(VOCABULARY)]
        theirs = set(np.flatnonzero(bits).tolist())
        assert ours == theirs or (ours < theirs and is_one_text(theirs)), (ours, theirs)
        if ours == {EOS}:
            return
        token = randomness.choice(sorted(ours - {EOS}))
        matcher.take(np.array([token]))
        assert second.accept_token(token)
