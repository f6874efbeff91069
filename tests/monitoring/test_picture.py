"""Still pictures: well-formed SVG with nothing active in it, and letters for text."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from types import SimpleNamespace
from typing import Any

from support.block_maps import block_map

from pagednb.monitoring.picture import MAX_CELLS, picture

SVG = "{http://www.w3.org/2000/svg}"


def status(**fields: Any) -> Any:
    return SimpleNamespace(blocks=block_map(**fields))


def test_letters_tell_blocks_apart() -> None:
    shown = picture(status(tables={0: [1, 2, 3], 1: [1, 5]}, num_blocks=8, cached=[6]), "Two texts", columns=4)
    assert repr(shown).splitlines() == [
        "Two texts",
        "#aa.",
        "b+..",
        "8 blocks of 4 tokens: 3 with one owner, 1 shared, 1 cached, 3 free",
    ]


def test_rows_are_even() -> None:
    rows = repr(picture(status(tables={}, num_blocks=48))).splitlines()[:-1]
    assert [len(row) for row in rows] == [24, 24]


def test_the_drawing_is_plain_svg_with_a_hint_for_each_cell() -> None:
    drawn = picture(status(tables={3: [1, 2], 4: [1, 4]}, num_blocks=6, cached=[5]), "A <b> & 'c'")._repr_svg_()
    root = ET.fromstring(drawn)
    assert {element.tag for element in root.iter()} <= {
        f"{SVG}{t}" for t in ("svg", "title", "rect", "g", "text", "path", "circle")
    }
    assert not [name for element in root.iter() for name in element.attrib if name.startswith("on") or "href" in name]
    titles = [element.text for element in root.iter(f"{SVG}title")]
    assert titles[0].startswith("A <b> & 'c' 6 blocks of 4 tokens")
    assert titles[1:] == [
        "block 1: shared by 2 requests (3, 4), 4 tokens",
        "block 2: request 3, 4 tokens",
        "block 3: free",
        "block 4: request 4, 4 tokens",
        "block 5: keeps a prefix",
        "block 6: free",
    ]
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert texts[2:] == ["request 3", "request 4", "shared by several", "cached prefix, no owner", "free"]
    assert "id=" not in drawn, "several pictures in one page would share it"


def test_a_block_is_filled_as_far_as_it_holds_tokens() -> None:
    root = ET.fromstring(picture(status(tables={0: [1, 2, 3]}, num_blocks=3, num_tokens=9))._repr_svg_())
    heights = [
        float(rect.get("height", 0)) for g in root.findall(f"{SVG}g")[:3] for rect in g.findall(f"{SVG}rect")[1:]
    ]
    assert heights == [20.0, 20.0, 5.0]


def test_a_large_pool_stays_a_small_picture() -> None:
    shown = picture(status(tables={0: list(range(1, 30_000))}, num_blocks=50_000))
    assert shown.grid.num_cells <= MAX_CELLS
    assert len(shown._repr_svg_()) < 400_000 and "49 in each cell" in repr(shown)
    ET.fromstring(shown._repr_svg_())
