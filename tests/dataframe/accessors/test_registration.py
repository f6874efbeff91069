"""``df.llm`` appears on request, silently again, and never in another library's place."""

from __future__ import annotations

import importlib
import subprocess
import sys
import warnings
from collections.abc import Iterator

import pandas as pd
import polars as pl
import pytest

from pagednb.dataframe import accessor


@pytest.fixture(autouse=True)
def clean_pandas() -> Iterator[None]:
    accessor.unregister()
    yield
    accessor.unregister()


def test_importing_the_room_registers_nothing() -> None:
    code = "import pandas as pd, pagednb.dataframe.accessor; assert not hasattr(pd.DataFrame, 'llm')"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_register_and_unregister() -> None:
    names_before = set(dir(pd.DataFrame())), set(dir(pd.Series(dtype=object)))
    assert accessor.register() == "llm"
    assert isinstance(pd.DataFrame({"a": [1]}).llm, accessor.FrameAccessor)
    assert isinstance(pd.Series(["a"]).llm, accessor.SeriesAccessor)
    assert "llm" in dir(pd.DataFrame())
    assert "rows" in repr(pd.DataFrame({"a": [1]}).llm)
    assert "values" in repr(pd.Series(["a"]).llm)
    accessor.unregister()
    assert not hasattr(pd.DataFrame({"a": [1]}), "llm")
    assert (set(dir(pd.DataFrame())), set(dir(pd.Series(dtype=object)))) == names_before
    accessor.unregister()


def test_registering_again_is_silent_also_after_a_reload() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        accessor.register()
        assert accessor.register() == "llm"
        importlib.reload(accessor)
        assert accessor.register() == "llm"
    assert type(pd.DataFrame().llm) is accessor.FrameAccessor


def test_registering_again_never_takes_the_verbs_away_for_a_moment() -> None:
    accessor.register()
    registered = pd.DataFrame.__dict__["llm"]
    accessor.register()
    assert pd.DataFrame.__dict__["llm"] is registered  # another thread may be using it


def test_a_foreign_accessor_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    class Foreign:
        def __init__(self, data: object) -> None:
            """Another library's accessor."""

    monkeypatch.setattr(pd.DataFrame, "llm", Foreign, raising=False)
    with pytest.warns(UserWarning, match=r"df.llm on pandas frames, and keeps it. Use df.pnb for pagednb's verbs"):
        assert accessor.register() == "pnb"
    assert pd.DataFrame.llm is Foreign
    assert not hasattr(pd.Series(dtype=object), "llm")
    assert isinstance(pd.DataFrame().pnb, accessor.FrameAccessor)
    assert isinstance(pd.Series(dtype=object).pnb, accessor.SeriesAccessor)
    assert accessor.register() == "pnb"  # told once
    accessor.unregister()
    assert pd.DataFrame.llm is Foreign
    assert not hasattr(pd.DataFrame(), "pnb")
    monkeypatch.setattr(pd.Series, "pnb", Foreign, raising=False)
    with pytest.warns(UserWarning, match=r"Use pagednb.frame\(df\)"):
        assert accessor.register() is None


def test_a_column_named_llm_stays_reachable() -> None:
    accessor.register()
    data = pd.DataFrame({"llm": ["a"]})
    assert isinstance(data.llm, accessor.FrameAccessor)
    assert data["llm"].tolist() == ["a"]


def test_a_library_that_comes_later_wins_and_we_move(monkeypatch: pytest.MonkeyPatch) -> None:
    accessor.register()
    with pytest.warns(UserWarning, match="overriding a preexisting attribute"):  # pandas' own words
        pd.api.extensions.register_dataframe_accessor("llm")(type("Foreign", (), {"__module__": "mall"}))
    try:
        with pytest.warns(UserWarning, match=r"Another library \(mall\).*Use df.pnb"):
            assert accessor.register() == "pnb"
        assert isinstance(pd.Series(dtype=object).pnb, accessor.SeriesAccessor)
        assert not hasattr(pd.Series(dtype=object), "llm")
        accessor.unregister()
        assert pd.DataFrame.llm.__module__ == "mall"
    finally:
        del pd.DataFrame.llm
        pd.DataFrame._accessors.discard("llm")


def test_the_message_names_the_other_library(monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = type("Foreign", (), {"__module__": "mall.pandas"})
    monkeypatch.setattr(pd.DataFrame, "llm", foreign, raising=False)
    with pytest.warns(UserWarning, match=r"Another library \(mall\) has registered df.llm on pandas frames") as told:
        accessor.register()
    assert len(told) == 1


def test_polars_has_the_verbs_as_pnb() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        accessor.register()
        assert accessor.register() == "llm"
    data = pl.DataFrame({"a": [1]})
    assert "generate" in repr(data.pnb) and "1 values" in repr(data["a"].pnb)
    assert not hasattr(data, "llm")
    accessor.unregister()
    assert not hasattr(pl.DataFrame(), "pnb") and not hasattr(pl.Series(), "pnb")
    assert "pnb" not in pl.DataFrame._accessors


def test_a_foreign_accessor_on_polars_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pl.DataFrame, "pnb", "foreign", raising=False)
    with pytest.warns(UserWarning, match=r"df.pnb on polars frames, and keeps it. Use pagednb.frame\(df\)"):
        assert accessor.register() == "llm"
    assert pl.DataFrame.pnb == "foreign" and not hasattr(pl.Series, "pnb")


def test_polars_is_not_imported_by_us() -> None:
    code = "import sys; from pagednb.dataframe import accessor; accessor.register()\n"
    code += "import pagednb.dataframe.accessors.native_accessors; assert 'polars' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
