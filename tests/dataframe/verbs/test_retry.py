"""``retry``: failed rows alone run again, with the same question, and nothing else changes."""

from __future__ import annotations

import json
import warnings
from typing import Annotated

import pandas as pd
import pytest
from support.fake_engine import FakeEngine, reverse

from pagednb.dataframe.accessor import frame
from pagednb.errors import OptionError, RowErrors, RowErrorsWarning

TEXTS = ["late", "x" * 400, "login", None, "y" * 300]


def failed(engine: FakeEngine, **options: object) -> pd.DataFrame:
    """A frame whose second and fifth row were too long."""
    engine.resolved.max_model_len = engine.geometry.max_model_len = 200
    data = pd.DataFrame({"text": TEXTS, "other": range(5)}, index=[3, 3, 1, 1, 2])
    with pytest.warns(RowErrorsWarning):
        result = frame(data).generate("{text}!", into="out", **{"max_tokens": 500, **options})
    assert result["out_error"].notna().tolist() == [False, True, False, False, True]
    engine.calls.clear()
    return result


def test_only_failed_rows_run_with_the_same_options(engine: FakeEngine) -> None:
    before = failed(engine, stop=["#"], seed=4, temperature=0.5, logit_bias={5: 1.0})
    engine.resolved.max_model_len = engine.geometry.max_model_len = 2000
    copy = before.copy(deep=True)
    after = frame(before).retry("out")
    pd.testing.assert_frame_equal(before, copy)
    [call] = engine.calls
    assert len(call.submitted) == 2
    params = call.submitted[0][1]
    assert (params.stop, params.seed, params.temperature, params.max_tokens) == (("#",), 4, 0.5, 500)
    assert params.logit_bias == {5: 1.0}
    assert [None if pd.isna(x) else x for x in after["out"]] == [t and reverse(f"{t}!") for t in TEXTS]
    assert list(after.columns) == ["text", "other", "out"]
    assert after.index.tolist() == before.index.tolist()
    assert after["out"].dtype == before["out"].dtype


def test_rows_that_fail_again_keep_a_reason_and_their_place(engine: FakeEngine) -> None:
    before = failed(engine)
    engine.resolved.max_model_len = engine.geometry.max_model_len = 350
    with pytest.warns(RowErrorsWarning, match="1 of 5 rows failed; the first is row 1"):
        after = frame(before).retry("out")
    assert after["out_error"].notna().tolist() == [False, True, False, False, False]
    assert [failure["row"] for failure in after.attrs["pagednb"]["failures"]] == [1]
    engine.resolved.max_model_len = engine.geometry.max_model_len = 2000
    assert "out_error" not in frame(after).retry("out").columns


def test_rows_that_were_too_long_can_be_cut(engine: FakeEngine) -> None:
    after = frame(failed(engine, max_tokens=90)).retry("out", truncate="right")
    assert after["out"].notna().tolist() == [True, True, True, False, True]
    assert "out_error" not in after.columns


def test_answers_that_were_cut_can_get_more_room(engine: FakeEngine) -> None:
    engine.answer = lambda _: '{"brand":"xylophone"}'
    data = pd.DataFrame({"text": ["a", "b"]})
    with pytest.warns(RowErrorsWarning, match=r"cut at max_tokens=8.*column 'out_error'; retry\('out'\) runs these"):
        before = frame(data).extract("text", schema={"brand": str}, into="out", max_tokens=8)
    after = frame(before).retry("out", max_tokens=100)
    assert after["out_brand"].tolist() == ["xylophone"] * 2 and "out_error" not in after.columns


def test_a_frame_knows_all_its_runs_also_after_filtering(engine: FakeEngine) -> None:
    before = frame(failed(engine)).generate("other", into="second")
    assert json.loads(json.dumps(before.attrs["pagednb_runs"])) == before.attrs["pagednb_runs"]
    engine.resolved.max_model_len = engine.geometry.max_model_len = 2000
    after = frame(before.iloc[[4, 0]]).retry("out")
    assert after["out"].tolist() == [reverse(f"{TEXTS[4]}!"), reverse(f"{TEXTS[0]}!")]
    assert after["second"].tolist() == ["4", "0"]


def test_nothing_failed_nothing_runs(engine: FakeEngine) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = frame(pd.DataFrame({"text": ["a"]})).generate("text")
        pd.testing.assert_frame_equal(frame(done).retry("generated"), done)
    assert len(engine.calls) == 1


def test_columns_with_levels_and_labels_that_are_no_text(engine: FakeEngine) -> None:
    engine.resolved.max_model_len = engine.geometry.max_model_len = 200
    for columns, template in ((pd.MultiIndex.from_tuples([("a", "b")]), ("a", "b")), ([7], 7)):
        data = pd.DataFrame([["short"], ["x" * 400]], columns=columns)
        with pytest.warns(RowErrorsWarning):
            before = frame(data).generate(template, max_tokens=90)
        after = frame(before).retry("generated", truncate="left")
        assert after.iloc[:, 1].notna().all() and after.shape == (2, 2)


def test_labels_have_no_max_tokens(engine: FakeEngine) -> None:
    engine.has_chat_template = True
    engine.resolved.max_model_len = engine.geometry.max_model_len = 200
    with pytest.warns(RowErrorsWarning):
        before = frame(pd.DataFrame({"text": ["x" * 400]})).classify("text", labels=["a", "b"])
    with pytest.raises(OptionError, match="classify writes no text"):
        frame(before).retry("label", max_tokens=5)
    assert frame(before).retry("label", truncate="left")["label"].notna().all()


def test_what_cannot_be_repeated_says_why(engine: FakeEngine) -> None:
    before = failed(engine)
    with pytest.raises(OptionError, match=r"which run made 'team'.*Known: 'out'"):
        frame(before).retry("team")
    engine.resolved.name = "other/model"
    with pytest.raises(OptionError, match="'other/model' is loaded"):
        frame(before).retry("out")


@pytest.mark.parametrize("into", ["text", "later"])
def test_a_run_whose_inputs_are_gone_is_refused(into: str, engine: FakeEngine) -> None:
    engine.resolved.max_model_len = engine.geometry.max_model_len = 200
    data = pd.DataFrame({"text": TEXTS})
    with pytest.warns(RowErrorsWarning):
        before = frame(data).generate("{text}!", into=into)
    if into == "later":
        with pytest.warns(RowErrorsWarning):
            before = frame(before).generate("{text}?", into="text")
    assert before[f"{into}_error"].notna().sum() == 2
    with pytest.raises(OptionError, match="'text', which generate read, was written over"):
        frame(before).retry(into, truncate="right")


def test_what_earlier_runs_wrote_is_an_input_like_any_other(engine: FakeEngine) -> None:
    before = frame(pd.DataFrame({"text": ["a" * 300, "b" * 300]})).generate("text", into="first")
    engine.resolved.max_model_len = engine.geometry.max_model_len = 200
    with pytest.warns(RowErrorsWarning):
        before = frame(before).generate("first", into="second")
    engine.resolved.max_model_len = engine.geometry.max_model_len = 2000
    assert frame(before).retry("second")["second"].notna().all()


def labelled(engine: FakeEngine) -> pd.DataFrame:
    """A frame whose last row of three was too long, and may be cut now."""
    engine.resolved.max_model_len = engine.geometry.max_model_len = 200
    with pytest.warns(RowErrorsWarning):
        return frame(pd.DataFrame({"text": ["a", "b", "x" * 400]})).classify("text", labels=["a", "b", "c"])


def test_a_label_whose_category_was_trimmed_comes_back(engine: FakeEngine) -> None:
    whole = frame(labelled(engine)).retry("label", truncate="right")
    before = labelled(engine)
    before["label"] = before["label"].cat.set_categories([each for each in "cab" if each != whole["label"].iloc[2]])
    after = frame(before).retry("label", truncate="right")
    assert after["label"].iloc[2] == whole["label"].iloc[2]
    assert "label_error" not in after.columns


def test_columns_that_were_dropped_stay_dropped(engine: FakeEngine) -> None:
    before = labelled(engine).drop(columns="label_confidence")
    after = frame(before).retry("label", truncate="right")
    assert after.columns.tolist() == ["text", "label"] and after["label"].notna().all()
    num_calls = len(engine.calls)
    with pytest.raises(OptionError, match="none of the columns of 'label'"):
        frame(before.drop(columns="label")).retry("label", truncate="right")
    assert len(engine.calls) == num_calls


def test_columns_whose_type_was_changed_take_what_comes(engine: FakeEngine) -> None:
    before = labelled(engine)
    before["label_confidence"] = before["label_confidence"].round().astype("Int64")
    before["label"] = before["label"].astype(object)
    after = frame(before).retry("label", truncate="right")
    assert after["label"].notna().all() and 0 < after["label_confidence"].iloc[2] < 1


def test_failures_are_counted_in_the_whole_frame(engine: FakeEngine) -> None:
    with pytest.raises(RowErrors, match="1 of 3 rows failed; the first is row 2") as caught:
        frame(labelled(engine)).retry("label", errors="raise")
    assert caught.value.frame["text"].tolist() == ["x" * 400]


def test_no_run_is_called_by_a_list(engine: FakeEngine) -> None:
    with pytest.raises(OptionError, match="which run made"):
        frame(labelled(engine)).retry(["label"])  # type: ignore[arg-type]


def test_fields_are_asked_for_in_the_same_words(engine: FakeEngine) -> None:
    engine.answer = lambda prompt: "no JSON"
    schema = {"a": int, "b": Annotated[str, "the brand"]}
    with pytest.warns(RowErrorsWarning):
        before = frame(pd.DataFrame({"text": ["a", "b"]})).extract("text", schema=schema, cache=False)
    engine.answer = lambda prompt: '{"a":1,"b":"x"}'
    after = frame(before).retry("extracted")
    assert after["a"].tolist() == [1, 1] and "the brand" in bytes(engine.calls[0].prompts[0]).decode()
    assert sorted(engine.calls[1].prompts) == sorted(engine.calls[0].prompts)
