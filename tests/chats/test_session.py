"""One conversation on a scripted engine: what is asked, what is kept, and what stops it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from support.streaming_engine import StreamingEngine

from pagednb.chats.chat_options import ChatOptions
from pagednb.chats.session import ChatSession
from pagednb.chats.turn import Turn
from pagednb.errors import EngineNotLoadedError, EngineStepError, OptionError, RequestCancelledError


def new_session(**options: Any) -> ChatSession:
    return ChatSession(ChatOptions().updated(options))


def said(session: ChatSession) -> list[tuple[str, str]]:
    return [(turn.state, turn.text) for turn in session.state.tree.branch]


def last(session: ChatSession) -> Turn:
    return session.state.tree.branch[-1]


def wait_until(condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.002)


def test_a_question_is_answered_and_the_next_one_sees_both(engine: StreamingEngine) -> None:
    session = new_session(system="Be brief.", temperature=0.2)
    answer = session.ask("Hello").wait()
    assert (answer.text, answer.state, answer.role) == ("one two three", "done", "assistant")
    session.ask("And now?", max_tokens=5).wait()
    (first, first_params), (second, second_params) = engine.asked
    assert first == "<system>Be brief.<user>Hello<assistant>"
    assert second == "<system>Be brief.<user>Hello<assistant>one two three<user>And now?<assistant>"
    assert (first_params.temperature, first_params.max_tokens) == (0.2, None)
    assert (second_params.temperature, second_params.max_tokens) == (0.2, 5)
    assert "max_tokens" not in session.state.options.sampling
    assert not session.state.is_answering


def test_figures_say_how_an_answer_came_about(engine: StreamingEngine) -> None:
    figures = new_session().ask("Hello").wait().figures
    assert figures is not None
    assert (figures.num_prompt_tokens, figures.num_cached_tokens) == (len("<user>Hello<assistant>"), 8)
    assert (figures.num_new_tokens, figures.num_context_tokens) == (3, len("<user>Hello<assistant>") + 3)
    assert (figures.model, figures.max_context_tokens) == ("scripted/model", 1000)
    assert figures.first_token_s is not None and 0 <= figures.first_token_s <= figures.duration_s
    assert figures.tokens_per_s is not None and figures.tokens_per_s > 0
    assert str(figures).startswith("22 prompt tokens, 8 of them cached, 3 new, ")


@pytest.mark.parametrize("opening", ["", "<think>\n"])
def test_thoughts_are_kept_apart_and_never_sent_back(engine: StreamingEngine, opening: str) -> None:
    engine.opening = opening
    engine.answer = "\nlet me see</think>\n\nfour" if opening else "<think>\nlet me see\n</think>\n\nfour"
    session = new_session()
    answer = session.ask("2 + 2?").wait()
    assert (answer.thinking, answer.text) == ("let me see", "four")
    assert answer.figures is not None and 1 <= answer.figures.num_thinking_tokens <= answer.figures.num_new_tokens
    engine.answer = "yes"
    session.ask("Sure?").wait()
    assert engine.asked[-1][0] == f"<user>2 + 2?<assistant>four<user>Sure?<assistant>{opening}"


def test_thinking_on_and_off_reach_the_template(engine: StreamingEngine) -> None:
    engine.template = "{% if enable_thinking %}{% endif %}"
    session = new_session(thinking=False)
    session.ask("a").wait()
    session.set_options({"thinking": True})
    session.ask("b").wait()
    session.set_options({"thinking": None})
    session.ask("c").wait()
    assert engine.template_kwargs == [{"enable_thinking": False}, {"enable_thinking": True}, {}]
    engine.template = "{{ messages }}"
    session.set_options({"thinking": True})
    with pytest.raises(OptionError, match="no switch for thinking"):
        session.ask("d").wait()


def test_an_answer_is_seen_to_grow_and_stop_keeps_what_came(engine: StreamingEngine) -> None:
    engine.is_held = True
    session = new_session()
    pending = session.ask("Tell me")
    assert (last(session).state, last(session).text, session.state.is_answering) == ("streaming", "", True)
    engine.let_go("Once upon ")
    wait_until(lambda: last(session).text == "Once upon ")
    assert session.stop() and not session.stop()
    assert said(session) == [("done", "Tell me"), ("stopped", "Once upon ")]
    assert pending.wait() is last(session)
    wait_until(lambda: engine.calls[0].was_aborted)
    engine.let_go("a time")
    time.sleep(0.15)
    assert last(session).text == "Once upon "
    engine.is_held = False
    session.ask("Go on").wait()
    assert engine.asked[-1][0] == "<user>Tell me<assistant>Once upon <user>Go on<assistant>"


def test_one_answer_at_a_time(engine: StreamingEngine) -> None:
    engine.is_held = True
    session = new_session()
    pending = session.ask("first")
    with pytest.raises(OptionError, match="on its way"):
        session.ask("second")
    engine.let_go("done", is_last=True)
    assert pending.wait().text == "done"
    assert len(session.state.tree.branch) == 2


def test_edit_of_a_question_makes_a_branch_and_asks_again(engine: StreamingEngine) -> None:
    session = new_session()
    session.ask("Hello").wait()
    session.ask("More").wait()
    question, answer = session.state.tree.branch[:2]
    pending = session.edit(question.turn_id, "Good day")
    assert pending is not None and pending.wait().text == "one two three"
    assert engine.asked[-1][0] == "<user>Good day<assistant>"
    assert [text for _, text in said(session)] == ["Good day", "one two three"]
    session.choose(answer.turn_id)
    assert [text for _, text in said(session)] == ["Hello", "one two three", "More", "one two three"]


def test_edit_of_an_answer_is_what_the_model_sees_next(engine: StreamingEngine) -> None:
    session = new_session()
    session.ask("Hello").wait()
    assert session.edit(last(session).turn_id, "I am a teapot.") is None
    assert last(session).is_edited
    session.ask("Who?").wait()
    assert engine.asked[-1][0] == "<user>Hello<assistant>I am a teapot.<user>Who?<assistant>"


def test_regenerate_adds_branches(engine: StreamingEngine) -> None:
    session = new_session()
    first = session.ask("Hello").wait()
    engine.answer = "another"
    second = session.regenerate(first.turn_id, temperature=1.5).wait()
    assert engine.asked[-1][1].temperature == 1.5
    assert session.state.tree.siblings(second.turn_id) == (first.turn_id, second.turn_id)
    assert last(session) == second
    question = session.state.tree.branch[0]
    third = session.regenerate(question.turn_id).wait()
    assert session.state.tree.siblings(third.turn_id)[-1] == third.turn_id


def test_undo_takes_back_a_step_whatever_it_was(engine: StreamingEngine) -> None:
    session = new_session()
    assert session.undo() is None
    first = session.ask("Hello").wait()
    session.regenerate(first.turn_id).wait()
    session.clear()
    assert said(session) == []
    assert session.undo() is None and len(said(session)) == 2
    assert session.undo() is None and last(session) == first
    assert session.undo() == "Hello" and said(session) == []
    assert not session.state.can_undo


def test_undo_of_a_question_that_is_being_answered(engine: StreamingEngine) -> None:
    engine.is_held = True
    session = new_session()
    pending = session.ask("Hello")
    assert session.undo() == "Hello"
    assert said(session) == [] and pending.wait().state == "stopped"
    wait_until(lambda: engine.calls == [] or engine.calls[0].was_aborted)


def test_ids_of_undone_turns_do_not_come_again(engine: StreamingEngine) -> None:
    session = new_session()
    session.ask("a").wait()
    gone = {turn.turn_id for turn in session.state.tree.branch}
    session.undo()
    session.ask("b").wait()
    assert gone.isdisjoint(turn.turn_id for turn in session.state.tree.branch)


@pytest.mark.parametrize("fault", [EngineStepError("The step failed.", hint="Ask again."), ValueError("a bug")])
def test_a_fault_becomes_the_turns_error(engine: StreamingEngine, fault: Exception) -> None:
    engine.is_held = True
    session = new_session()
    engine.let_go("half ", fault)
    with pytest.raises(type(fault)):
        session.ask("Hello").wait()
    assert last(session).state == "failed" and str(fault) in str(last(session).error)
    engine.is_held = False
    assert session.ask("Again").wait().state == "done"


def test_everything_cancelled_counts_as_stopped(engine: StreamingEngine) -> None:
    engine.is_held = True
    engine.let_go(RequestCancelledError("Cancelled."))
    session = new_session()
    with pytest.raises(RequestCancelledError):
        session.ask("Hello").wait()
    assert last(session).state == "stopped"


def test_without_a_model_the_turn_says_so_and_the_question_is_no_part_of_the_next() -> None:
    session = new_session()
    with pytest.raises(EngineNotLoadedError):
        session.ask("Hello").wait()
    assert last(session).error == "No model is loaded. Call pagednb.load() or %llm load first."


def test_a_question_without_any_answer_is_left_out(engine: StreamingEngine) -> None:
    session = new_session()
    engine.is_held = True
    engine.let_go(EngineStepError("The step failed."))
    with pytest.raises(EngineStepError):
        session.ask("lost").wait()
    engine.is_held = False
    session.ask("Hello").wait()
    assert engine.asked[-1][0] == "<user>Hello<assistant>"


def test_length_is_told_apart_from_the_end(engine: StreamingEngine) -> None:
    engine.finish_reason = "length"
    assert new_session().ask("Hello").wait().state == "cut"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"temprature": 1}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"n": 2}, "n=2"),
        ({"thinking": "yes"}, "thinking"),
        ({"system": 3}, "system"),
    ],
)
def test_bad_options_are_refused_before_anything_happens(
    engine: StreamingEngine, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(OptionError, match=named):
        new_session(**options)
    session = new_session()
    with pytest.raises(OptionError, match=named):
        session.ask("Hello", **options)
    with pytest.raises(OptionError):
        session.ask(" \n")
    assert session.state.tree.branch == () and not session.state.can_undo


def test_an_awaiting_cell_that_is_interrupted_stops_the_answer(engine: StreamingEngine) -> None:
    engine.is_held = True
    session = new_session()
    engine.let_go("half")
    pending = session.ask("Hello")
    wait_until(lambda: last(session).text == "half")

    async def wait() -> Turn:
        return await pending

    async def give_up() -> None:
        task = asyncio.ensure_future(wait())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(give_up())
    assert (last(session).state, last(session).text) == ("stopped", "half")


def test_an_awaited_answer(engine: StreamingEngine) -> None:
    async def ask() -> str:
        return (await new_session().ask("Hello")).text

    assert asyncio.run(ask()) == "one two three"


def test_no_thread_outlives_its_answer(engine: StreamingEngine) -> None:
    sessions = [new_session() for _ in range(5)]
    pending = [session.ask(f"question {number}") for number, session in enumerate(sessions)]
    assert [each.wait().text for each in pending] == ["one two three"] * 5
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "pagednb chat"])
    assert sorted(prompt for prompt, _ in engine.asked) == [f"<user>question {n}<assistant>" for n in range(5)]


def test_buttons_pressed_on_many_threads_leave_a_whole_conversation(engine: StreamingEngine) -> None:
    session = new_session()
    session.ask("Hello").wait()
    first = last(session).turn_id

    def press(number: int) -> None:
        for turn in range(15):
            action = (number + turn) % 5
            if action == 0:
                session.regenerate(first)
            elif action == 1:
                session.stop()
            elif action == 2:
                session.choose(first)
            elif action == 3:
                session.edit(first, "edited")
            else:
                session.set_options({"temperature": 0.5})

    threads = [threading.Thread(target=press, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: not session.state.is_answering)
    state = session.state
    assert len(state.tree.siblings(first)) == 1 + 12 + 12
    assert not [turn for turn in state.tree.turns.values() if turn.is_streaming]
