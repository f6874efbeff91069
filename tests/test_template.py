"""The interpolation rule: what is a field, what is text, and that values are never read as templates."""

from __future__ import annotations

import contextlib
import datetime
import json
import string
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pagednb.errors import TemplateError
from pagednb.template import Template, resolve_in

NAMES = {
    "x": 5,
    "v": 1,
    "name": "Ada",
    "price": 3.14159,
    "text": "a {x} b {{x}} {",
    "data": {"key": [10, 20], "a-b": 1, "{x}": 2, 3: "three"},
    "person": SimpleNamespace(first="Ada", age=36, _secret="no"),
    "day": datetime.datetime(2024, 2, 29, 13, 5),
    "In": ["", "import os", "print({'foo': 'bar'})"],
    "Out": {3: "42"},
    "größe": 7,
    "μ": 0.5,  # Greek letter mu
    "_": "last",
    "class_": "c",
    "__name__": "__main__",
}

FILLED = {
    "{x}": "5",
    "{x}{x}": "55",
    "a{x}b{name}c": "a5bAdac",
    "{person.first} is {person.age}": "Ada is 36",
    "{data['key'][1]}": "20",
    '{data["a-b"]}': "1",
    "{data[3]}": "three",
    "{data['key'][-1]}": "20",
    "{name!r}": "'Ada'",
    "{name!s:>5}": "  Ada",
    "{name!a}": "'Ada'",
    "{price:.2f}": "3.14",
    "{price:08.3f}": "0003.142",
    "{x:>4}|{x:<4}|{x:^5}|{x:*^5}|{x:+}|{x:#x}|{x:}": "   5|5   |  5  |**5**|+5|0x5|5",
    "{day:%Y-%m-%d %H:%M}": "2024-02-29 13:05",
    "{In[1]} gives {Out[3]}": "import os gives 42",
    "{größe}": "7",
    "\N{MICRO SIGN}={\N{MICRO SIGN}}": "\N{MICRO SIGN}=0.5",  # Python stores this identifier as Greek mu
    "{_}": "last",
    "{text}": "a {x} b {{x}} {",  # a value is inserted once
    "{In[2]}": "print({'foo': 'bar'})",
    # doubled braces are literal braces around a field that resolves, as in an f-string
    "{{x}}": "{x}",
    "{{{x}}}": "{5}",
    "{{{{x}}}}": "{{x}}",
    "{{name!r}} {name}": "{name!r} Ada",
    # braces of JSON beside a field
    '{"id":{x}}': '{"id":5}',
    '{"a": {"b":{x}}}': '{"a": {"b":5}}',
    '{"id": {x}, "name": "{name}"}': '{"id": 5, "name": "Ada"}',
    "${x}": "$5",
}

LEFT = [
    # jupyter-ai #27: TypeScript
    "private _addToolbar(model: ICellModel): void {\n  const cell = this._get(model);\n  if (cell) {\n    f();\n  }\n}",
    "for (const { name, widget } of this._toolbar) { toolbarWidget.addItem(name, widget); }",
    # jupyter-ai #967: comprehensions
    "{v:k for k,v in dic.items()}",
    "{v: x for v in name}",
    # jupyter-ai PR #1260, inspect_ai #5256: JSON
    "print({'foo': 'bar'})",
    'Return output in JSON format: {"answer": "value"}.',
    'Emit {"ok":1} on success.',
    json.dumps({"x": {"name": [1, {"v": None}]}}, indent=2),
    # other code
    "{x=}",
    "{ x }",
    "{x }",
    "{x: 1}",
    "{x, v}",
    "{x + 1}",
    "{x()}",
    "{x.real()}",
    "{}",
    "{{}}",
    "{0}",
    "{",
    "}",
    "}{",
    "{{",
    "{x",
    "x}",
    "body {color: red; margin:0 auto}",
    r"\frac{1}{2} \begin{align*}",
    "#define F(a) {return a;}",
    "{% for x in name %}{{ x }}{% endfor %}",
    "{name:string}",
    "{x:99999999999}",  # no template allocates gigabytes
    # unresolved, however it fails
    "{unknown}",
    "{{unknown}}",
    "{{{unknown}}}",
    "{Out[9]}",
    "{In[99]}",
    "{data['nope']}",
    "{person.nope}",
    "{x.a.b}",
    "{x[0]}",
    "{name:d}",
    # nothing private, nothing called
    "{person._secret}",
    "{x.__class__}",
    "{x.__class__.__mro__[1]}",
    "{__name__}",
    "{name.upper}",
    "{data[key]}",
    "{data[x]}",
    "{data['a' 'b']}",
]


@pytest.mark.parametrize("text", FILLED)
def test_fields_are_filled(text: str) -> None:
    assert Template(text).render(resolve_in(NAMES)) == FILLED[text]


@pytest.mark.parametrize("text", LEFT)
def test_everything_else_stays(text: str) -> None:
    assert Template(text).render(resolve_in(NAMES)) == text
    assert Template(f"{{x}} {text} {{x}}").render(resolve_in(NAMES)) == f"5 {text} 5"


def test_fields_are_listed_with_their_parts() -> None:
    first, second = Template("{a.b['c'][0]!r:>9} and {{escaped}} {\"json\": 1} {d}").fields
    assert (first.name, first.path) == ("a", ((".", "b"), ("[", "c"), ("[", 0)))
    assert (first.conversion, first.format_spec) == ("r", ">9")
    assert second.name == "d"


def test_a_value_that_raises_anything_is_a_template_error() -> None:
    class Bad:
        def __str__(self) -> str:
            raise RuntimeError("no text in me")

        @property
        def broken(self) -> None:
            raise ZeroDivisionError

    assert Template("{bad}{bad.broken}").render(resolve_in({"bad": Bad()})) == "{bad}{bad.broken}"
    for text in ("{bad}", "{bad.broken}"):
        with pytest.raises(TemplateError, match=r"cannot be filled: (RuntimeError|ZeroDivisionError)"):
            Template(text).bind(["bad"]).render([Bad()])


# --- templates bound to column names


def bound(text: str, **values: object) -> str:
    template = Template(text).bind(list(values))
    return template.render([values[name] for name in template.names])


def test_bound_names_may_be_anything_that_a_column_is_called() -> None:
    columns = {
        "ticket text": "hi",
        "a.b": 1,
        "price (€)": 2.5,
        "class": "c",
        "日本": "語",
        "x!r": 3,
        "two\nlines": 4,
        " led": 5,
    }
    text = "{ticket text}|{ticket text:.1}|{ticket text!r}|{a.b}|{price (€):.2f}|{class}|{日本}|{x!r}|{two\nlines}"
    assert bound(text + "|{` led`}", **columns) == "hi|h|'hi'|1|2.50|c|語|3|4|5"
    template = Template("{b} {ticket text} {b}").bind(["ticket text", "b", "unused"])
    assert template.names == ("b", "ticket text")
    assert template.render([1, 2]) == "1 2 1"


def test_the_longest_name_wins() -> None:
    columns = {"a": SimpleNamespace(b="attribute"), "a.b": "column"}
    assert bound("{a.b}", **columns) == "column"
    assert bound("{`a`.b}", **columns) == "attribute"


def test_a_quote_or_space_after_the_brace_is_never_a_field() -> None:
    assert bound('{"a": 1} { a} {a}', **{'"a": 1': "no", " a": "no", "a": "yes"}) == '{"a": 1} { a} yes'


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("{txt}", "text"),
        ("{Text}", "text"),
        ("{tiket text}", "ticket text"),
        ("{txt.upper}", "text"),
        ("{txt!r:>3}", "text"),
    ],
)
def test_an_unknown_field_names_the_nearest(text: str, nearest: str) -> None:
    with pytest.raises(TemplateError, match=f"Did you mean {{{nearest}}}"):
        Template(f"{{text}} {text}").bind(["text", "ticket text", "other"])


def test_an_unknown_field_without_a_near_name_lists_what_there_is() -> None:
    with pytest.raises(TemplateError, match=r"no 'zzz'. Known: 'text', 'label'"):
        Template("{zzz}").bind(["text", "label"])


@pytest.mark.parametrize("text", [text for text in LEFT if not Template(text).fields or "{{}}" in text])
def test_bound_templates_leave_code_and_json_alone(text: str) -> None:
    assert bound(f"{text}{{column}}", column="c") == f"{text}c"


def test_escapes_in_bound_templates() -> None:
    assert bound("{{a}} {{{a}}} {{b}} {a}", a=1) == "{a} {1} {{b}} 1"
    assert Template("{{a}}").bind(["a"]).names == ()


# --- properties

TEXTS = st.text(alphabet=st.sampled_from("{}ab x_.[]0'\"!:r%`\n§"), max_size=40)
IDENTIFIERS = st.sampled_from(["a", "b", "long_name", "ü"])


@given(TEXTS)
@example("{a}")
@example("{{a}}")
def test_without_names_every_text_is_unchanged(text: str) -> None:
    assert Template(text).render(resolve_in({})) == text


@given(TEXTS, TEXTS)
def test_values_are_never_read_again(before: str, value: str) -> None:
    text = f"§{before.replace('{', '(').replace('}', ')')}{{a}}§"
    expected = text.replace("{a}", value)
    assert Template(text).render(resolve_in({"a": value, "b": "WRONG"})) == expected
    assert Template(text).bind(["a"]).render([value]) == expected


@given(TEXTS)
def test_a_bound_template_agrees_with_the_magics(text: str) -> None:
    values = {"a": "one", "b": "two"}
    try:
        template = Template(text).bind(list(values))
        filled = template.render([values[name] for name in template.names])
    except TemplateError:
        return
    assert filled == Template(text).render(resolve_in(values))


PIECES = st.one_of(
    st.text(alphabet=string.ascii_letters + " .,:\n", max_size=8),
    st.builds(
        "{{{}{}{}}}".format,
        IDENTIFIERS,
        st.sampled_from(["", "!r", "!s", "!a"]),
        st.sampled_from(["", ":>6", ":.2", ":*^7"]),
    ),
    st.builds("{{{{{}}}}}".format, IDENTIFIERS),
    st.builds("{{{{{{{}}}}}}}".format, IDENTIFIERS),
)


@given(st.lists(PIECES), st.text(max_size=5))
def test_what_is_an_f_string_too_means_the_same(pieces: list[str], value: str) -> None:
    # braces that touch across pieces would merge into longer runs, which str.format reads from the left
    text = "|".join(pieces)
    names = dict.fromkeys(["a", "b", "long_name", "ü"], value)
    assert Template(text).render(resolve_in(names)) == text.format(**names)
    template = Template(text).bind(list(names))
    assert template.render([value] * len(template.names)) == text.format(**names)


@pytest.mark.parametrize(
    "evil", ["{" * 50_000, "}" * 50_000, "{}" * 50_000, "{a" * 50_000, "{a:" + "%" * 50_000, "{a" + ".b" * 20_000]
)
def test_evil_text_comes_back_at_once(evil: str) -> None:
    # a pattern that backtracks would run for hours, so reaching the end is the proof
    for text in (evil, evil + "}", evil + "!}"):
        assert Template(text).render(resolve_in({})) == text
        with contextlib.suppress(TemplateError):
            assert Template(text).bind(["q"]).names == ()
