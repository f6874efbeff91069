"""The last gate: HTML in, only the listed elements, attributes, classes and addresses out.

The writer before it makes nothing else; this gate holds if the writer, or a library under it, is wrong.
"""

from __future__ import annotations

import re
from functools import cache

import nh3

from pagednb.rendering.code_block import CODE_CLASSES
from pagednb.rendering.links import LINK_SCHEMES, is_safe_link
from pagednb.rendering.mathml import MATHML_ATTRIBUTES, MATHML_TAGS, is_plain_attribute

HTML_TAGS = frozenset(
    """
    a blockquote br code div em h1 h2 h3 h4 h5 h6 hr li ol p pre s span strong table tbody td th
    thead tr ul
    """.split()  # noqa: SIM905  (a table, easier to read and to compare)
)
_CELL_CLASSES = {"pnb-left", "pnb-center", "pnb-right"}
CLASSES: dict[str, set[str]] = {
    "a": {"pnb-picture"},
    "code": {"pnb-tex"},
    "div": {"pnb-table", "pnb-math"},
    "li": {"pnb-task"},
    "pre": {"pnb-code", "pnb-plain"},
    "span": {"pnb-task-open", "pnb-task-done", *CODE_CLASSES},
    "td": _CELL_CLASSES,
    "th": _CELL_CLASSES,
}
_ATTRIBUTES: dict[str, set[str]] = {
    "a": {"href"},
    "ol": {"start"},
    "pre": {"data-language"},
    "span": {"role", "aria-label"},
}
_VALUES = {
    "start": re.compile(r"\d{1,9}"),
    "data-language": re.compile(r"[a-z0-9_+#.-]{1,24}"),
    "role": re.compile("img"),
    "aria-label": re.compile("done|to do"),
    "rel": re.compile("noopener noreferrer"),
    "target": re.compile("_blank"),
}


def sanitised(html: str) -> str:
    """Return ``html`` with everything off the lists taken away."""
    return _cleaner().clean(html)


@cache
def _cleaner() -> nh3.Cleaner:
    return nh3.Cleaner(
        tags=set(HTML_TAGS | MATHML_TAGS),
        clean_content_tags={"script", "style"},
        attributes={**_ATTRIBUTES, **{tag: set(MATHML_ATTRIBUTES) for tag in MATHML_TAGS}},
        attribute_filter=_filtered,
        allowed_classes=CLASSES,
        url_schemes=set(LINK_SCHEMES),
        url_relative="deny",
        link_rel="noopener noreferrer",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )


def _filtered(tag: str, name: str, value: str) -> str | None:
    if name == "class":  # by the list of classes
        return value
    if tag in MATHML_TAGS:
        return value if is_plain_attribute(name, value) else None
    if name == "href":
        return value if is_safe_link(value) else None
    pattern = _VALUES.get(name)
    return value if pattern is not None and pattern.fullmatch(value) else None
