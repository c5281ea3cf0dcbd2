"""Histograms, bars of shares and differences: well-formed, quiet, and true to their counts."""

import re
import time
import xml.etree.ElementTree as ElementTree

import pytest

from ingot.count_pictures import Cut, difference_html, histogram_svg, shares_svg
from ingot.pictures import SVG_NAMESPACE
from tests.base.test_pictures import HOSTILE, Tags, texts


def heights(svg: str, colour: str) -> list[float]:
    nodes = ElementTree.fromstring(svg).iter(f"{{{SVG_NAMESPACE}}}rect")
    return [float(node.attrib["height"]) for node in nodes if node.attrib.get("fill") == colour]


def test_hostile_strings_are_text_and_never_markup() -> None:
    for svg in (
        histogram_svg([1, 2], {HOSTILE: [1, 2, 3], "b": [0, 1, 0]}, title=HOSTILE, x_label=HOSTILE,
                      cuts=[Cut(HOSTILE, 1.5)]),
        shares_svg([(HOSTILE, [(HOSTILE, 2), ("kept", 1)])], title=HOSTILE),
    ):  # fmt: skip
        names = {node.tag.removeprefix(f"{{{SVG_NAMESPACE}}}") for node in ElementTree.fromstring(svg).iter()}
        assert names <= {"svg", "title", "style", "rect", "text", "line"}
    seen = Tags()
    seen.feed(difference_html(f"a {HOSTILE} b", f"a {HOSTILE}2 c"))
    assert seen.names <= {"pre", "ins", "del"} and not seen.attributes


def test_bars_are_as_high_as_their_counts_and_a_cut_lies_where_its_value_is() -> None:
    svg = histogram_svg([10, 20], {"documents": [1, 4, 2]}, title="t", cuts=[Cut("new 15", 15.0)])
    first, second, third = heights(svg, "#0072b2")
    assert (second / first, third / first) == pytest.approx((4, 2), abs=0.05)
    rectangles = ElementTree.fromstring(svg).iter(f"{{{SVG_NAMESPACE}}}rect")
    bars = [node for node in rectangles if node.get("fill") == "#0072b2"]
    middle = float(bars[1].attrib["x"]) + float(bars[1].attrib["width"]) / 2
    (cut,) = [n for n in ElementTree.fromstring(svg).iter(f"{{{SVG_NAMESPACE}}}line") if n.get("stroke") == "#d55e00"]
    assert float(cut.attrib["x1"]) == pytest.approx(middle, abs=1.0)
    assert "new 15" in texts(svg)


def test_a_histogram_with_too_few_counts_is_refused_and_one_without_documents_says_so() -> None:
    with pytest.raises(ValueError, match="2 counts for 2 edges"):
        histogram_svg([1, 2], {"documents": [1, 2]}, title="t")
    assert "no documents" in texts(histogram_svg([1], {"documents": [0, 0]}, title="t"))


def test_a_bar_of_shares_is_cut_by_what_became_of_its_documents() -> None:
    svg = shares_svg([("de", [("kept", 25), ("length", 75)])], title="t")
    widths = {
        node.attrib["fill"]: float(node.attrib["width"])
        for node in ElementTree.fromstring(svg).iter(f"{{{SVG_NAMESPACE}}}rect")
        if node.attrib.get("height") == "18"
    }
    assert widths["#d55e00"] == pytest.approx(3 * widths["#009e73"], rel=0.01)
    assert {"de (100)", "kept", "length"} <= set(texts(svg))


def test_a_difference_shows_what_was_lost_and_what_came_and_shortens_what_is_equal() -> None:
    same = "One line that stays.\n" * 200
    found = difference_html(f"{same}the old lamp burns\n{same}", f"{same}the new lamp burns\n{same}")
    assert re.search(r"<del>old\s*</del><ins>new\s*</ins>lamp burns", found)
    assert "equal characters" in found and len(found) < 3000


def test_texts_of_repeated_lines_and_words_are_compared_in_little_time() -> None:
    start = time.process_time()
    for end in ("\n", " "):
        found = difference_html(f"a b c{end}" * 1900, f"a b d{end}a b c{end}" * 950)
        assert "<ins>" in found
    assert time.process_time() - start < 5  # a minute when each may start a match
