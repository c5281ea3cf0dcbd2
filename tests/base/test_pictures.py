"""Pictures and pages are well-formed and quiet (no request, no script); hostile strings do no harm."""

import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest

from ingot.pictures import (
    SVG_NAMESPACE,
    Box,
    Markup,
    bars_svg,
    curve_svg,
    escape,
    html_page,
    lineage_svg,
    number,
    preformatted_html,
    table_html,
    waterfall_svg,
)

HOSTILE = "\"><script>alert(1)</script><img src=//evil onerror='x'>&amp;\x00\x1b[31m\u202e"


class Tags(HTMLParser):
    """The names of all tags and attributes of a page, as a browser would read them."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}


def pictures(label: str) -> list[Markup]:
    return [
        waterfall_svg([(label, 10), ("too_short", 4), (label, 6)], title=label),
        bars_svg([(label, 1.5), ("b", float("nan")), ("c", -2.0)], title=label, unit=label),
        curve_svg({label: [(0, 1.0), (1, 2.0)]}, title=label, x_label=label, y_label=label),
        lineage_svg([[Box("a", label, (label,))], [Box("b", "b")]], [("a", "b")], title=label),
    ]


def texts(svg: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(svg).iter(f"{{{SVG_NAMESPACE}}}text")]


def test_hostile_strings_are_text_and_never_markup_in_pictures() -> None:
    for svg in pictures(HOSTILE):
        root = ElementTree.fromstring(svg)  # well-formed whatever the label
        names = {node.tag.removeprefix(f"{{{SVG_NAMESPACE}}}") for node in root.iter()}
        assert names <= {"svg", "title", "style", "rect", "text", "line", "polyline", "path"}
        assert not any("onerror" in node.attrib or "src" in node.attrib for node in root.iter())


def test_hostile_strings_are_text_and_never_markup_on_pages() -> None:
    page = html_page(
        HOSTILE,
        [
            (HOSTILE, HOSTILE),
            ("t", [table_html([HOSTILE], [[HOSTILE]], caption=HOSTILE)]),
            ("p", [preformatted_html(HOSTILE), *pictures(HOSTILE)]),
        ],
    )
    found = Tags()
    found.feed(page)
    assert {"table", "svg", "pre"} <= found.names  # positive control: tags are found
    assert not found.names & {"script", "img", "iframe", "link", "a"}
    assert not found.attributes & {"src", "href", "onerror"}
    assert "\x00" not in page and "\x1b" not in page and "\u202e" not in page
    assert "&lt;script&gt;" in page


def test_pages_ask_the_network_for_nothing() -> None:
    page = html_page("Card", [("a", pictures("x"))]).replace(f'xmlns="{SVG_NAMESPACE}"', "")
    assert not re.search(r"https?:|//|url\(|@import|<link|<script|<img|<iframe", page)
    assert "default-src 'none'" in page
    # Positive control: the search finds what it looks for.
    assert re.search(r"https?:", html_page("Card", [("a", "see https://example.org")]))


def test_only_markup_of_this_module_passes_unescaped() -> None:
    page = html_page("t", [("h", ["<b>plain</b>", table_html(["n"], [["v"]])])])
    assert "&lt;b&gt;plain&lt;/b&gt;" in page and "<td>v</td>" in page
    assert escape(escape("<")) == "&lt;"


def test_a_waterfall_shows_every_count_and_refuses_one_that_does_not_add_up() -> None:
    svg = waterfall_svg([("in", 1000), ("too_short", 200), ("duplicate", 50), ("kept", 750)], title="Documents")
    assert {"in", "too_short", "duplicate", "kept", "200 (20.0%)", "750 (75.0%)"} <= set(texts(svg))
    bars = [node for node in ElementTree.fromstring(svg).iter(f"{{{SVG_NAMESPACE}}}rect") if node.get("rx") == "2"]
    starts = [float(bar.get("x", 0)) for bar in bars]
    ends = [start + float(bar.get("width", 0)) for start, bar in zip(starts, bars, strict=True)]
    assert starts[1] == pytest.approx(ends[3] + (ends[0] - starts[0]) * 0.05, abs=0.3)  # drops hang above what stays
    assert starts[0] == starts[3] and ends[1] == pytest.approx(ends[0], abs=0.2)
    with pytest.raises(ValueError, match="1,000 came in, but 999 are accounted for"):
        waterfall_svg([("in", 1000), ("kept", 999)], title="t")
    with pytest.raises(ValueError, match="at least"):
        waterfall_svg([("in", 1)], title="t")
    assert "0" in texts(waterfall_svg([("in", 0), ("kept", 0)], title="empty"))


def test_a_bar_that_is_not_finite_says_so() -> None:
    assert "not finite" in texts(bars_svg([("a", float("nan")), ("b", 1.0)], title="t"))
    assert "2.500 bits" in texts(bars_svg([("a", 2.5)], title="t", unit="bits"))
    ElementTree.fromstring(bars_svg([], title="nothing"))


def test_curves_keep_spikes_break_at_gaps_and_survive_one_point() -> None:
    points = [(float(step), 1.0) for step in range(5000)]
    points[2500] = (2500.0, 9.0)
    svg = curve_svg({"loss": points}, title="Loss")
    (line,) = ElementTree.fromstring(svg).iter(f"{{{SVG_NAMESPACE}}}polyline")
    places = [tuple(map(float, place.split(","))) for place in line.get("points", "").split()]
    assert len(places) <= 600 and min(y for _, y in places) == 46.0  # the spike reaches the top
    gap = curve_svg({"loss": [(0, 1.0), (1, float("nan")), (2, 1.5), (3, 1.2)]}, title="Loss")
    assert len(list(ElementTree.fromstring(gap).iter(f"{{{SVG_NAMESPACE}}}polyline"))) == 2
    ElementTree.fromstring(curve_svg({"a": [(1, 2.0)]}, title="one"))
    assert {"0", "1,000", "4,000", "2"} <= set(texts(svg))  # round numbers at the axes
    assert "no points yet" in texts(curve_svg({"a": []}, title="none"))


def test_lineage_draws_every_edge_once_and_gathers_what_does_not_fit() -> None:
    sources = [Box(f"s{index}", f"source {index}", ("1,000 documents",)) for index in range(30)]
    layers = [sources, [Box("c", "handbook@12")], [Box("t", "tokens")], [Box("m", "model 3")]]
    edges = [(box.key, "c") for box in sources] + [("c", "t"), ("t", "m")]
    svg = lineage_svg(layers, edges, title="Lineage")
    assert "and 19 more" in texts(svg) and "handbook@12" in texts(svg)
    curves = [node for node in ElementTree.fromstring(svg).iter(f"{{{SVG_NAMESPACE}}}path")]
    assert len(curves) == 2 * (12 + 2)
    with pytest.raises(ValueError, match="'nowhere', which is no box"):
        lineage_svg(layers, [("c", "nowhere")], title="Lineage")


def test_pictures_and_pages_follow_the_readers_light_or_dark_preference() -> None:
    assert all("prefers-color-scheme:dark" in svg for svg in pictures("x"))
    assert "color-scheme:light dark" in html_page("t", [])


def test_long_labels_are_cut_and_shown_whole_on_hovering() -> None:
    label = "a very long drop reason " * 10
    svg = waterfall_svg([(label, 1), ("kept", 1)], title="t")
    assert any(text.endswith("…") for text in texts(svg)) and label in svg


def test_numbers_are_written_for_people() -> None:
    assert [number(1234567), number(1234.5678, 2), number(None), number(float("inf"))] == [
        "1,234,567",
        "1,234.57",
        "–",
        "not finite",
    ]
    table = table_html(["a", "b"], [[1234, True], [None, "<"]])
    assert '<td class="number">1,234</td><td>True</td>' in table and "<td>&lt;</td>" in table
