"""What a reader finds does not depend on how the text was cut into pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagednb.server.tools.tool_call import ToolCall
from pagednb.server.tools.tool_format import FORMATS
from pagednb.server.tools.tool_reader import ToolReader

HERMES_CALL = '{"name": "f", "arguments": {"a": "<"}}'
ALPHABET = {
    "hermes": ("<tool_call>", "</tool_call>", "<tool", "</", HERMES_CALL, "{", "word", " ", "\n"),
    "llama3_json": ("<|python_tag|>", "<|py", '{"name": "f", "parameters": {}}', ";", "{", "word", " ", "\n"),
    "mistral": ("[TOOL_CALLS]", "[TOOL", '[{"name": "f", "arguments": {}}]', "f[ARGS]{}", "{", "word", " ", "\n"),
}


def read(reader: ToolReader, pieces: list[str]) -> tuple[str, list[tuple[str, str]]]:
    found = [each for piece in pieces for each in reader.push(piece)] + reader.finish()
    text = "".join(each for each in found if isinstance(each, str))
    return text, [(each.name, each.arguments) for each in found if isinstance(each, ToolCall)]


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
def test_any_cut_reads_the_same(name: str, data: st.DataObject) -> None:
    text = "".join(data.draw(st.lists(st.sampled_from(ALPHABET[name]), max_size=8)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    pieces = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    whole = read(FORMATS[name].make_reader(), [text])
    assert read(FORMATS[name].make_reader(), pieces) == whole
    assert read(FORMATS[name].make_reader(), list(text)) == whole
    if not whole[1]:
        assert whole[0] == text
