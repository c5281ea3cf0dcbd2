"""MediaWiki dumps: the current revision of each article as Markdown."""

import bz2
import gzip
import lzma
import random

import pytest

from datasets_pipeline.extract.wikitext_markdown import to_markdown
from datasets_pipeline.sources import mediawiki
from datasets_pipeline.sources.base import ExtractionError, FileEntry
from ingot import registry

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="de">
  <siteinfo>
    <sitename>Das Wiki</sitename><dbname>dewiki</dbname><base>https://de.example/wiki</base>
    <namespaces><namespace key="0" case="first-letter" /><namespace key="6">Datei</namespace>
      <namespace key="14">Kategorie</namespace></namespaces>
  </siteinfo>
"""


def page(title: str, text: str, ns: int = 0, extra: str = "", stamp: str = "2024-02-03T04:05:06Z") -> str:
    return f"""  <page>
    <title>{title}</title><ns>{ns}</ns><id>7</id>{extra}
    <revision><id>8</id><timestamp>{stamp}</timestamp>
      <contributor><username>Ann</username><id>3</id></contributor><comment>a comment</comment>
      <model>wikitext</model><format>text/x-wiki</format>
      <text bytes="5" xml:space="preserve">{text}</text><sha1>x</sha1></revision>
  </page>
"""


DUMP = (
    HEAD
    + page("Über uns", "Wir sind '''viele'''. [[Datei:A.png|mini|Das Bild]] [[Kategorie:Alle]] &amp;lt;")
    + page("Weg", "#REDIRECT [[Über uns]]", extra='<redirect title="Über uns" />')
    + page("Diskussion:X", "talk", ns=1)
    + page("A/B", "Zweite Seite")
    + "</mediawiki>\n"
)


def extract(data: bytes | str, **options):
    config = mediawiki.Config(name="wiki", uri="/none", **options)
    data = data.encode() if isinstance(data, str) else data
    return mediawiki.extract_file(config, FileEntry("dump.xml", len(data)), data)


def test_articles_become_documents_with_title_place_date_and_language():
    result = extract(DUMP)
    assert [(d.uri, d.text) for d in result.documents] == [
        ("dewiki/Über_uns", "# Über uns\n\nWir sind **viele**.\n\nDas Bild\n\n<"),
        ("dewiki/A/B", "# A/B\n\nZweite Seite"),
    ]
    first = result.documents[0]
    assert (first.stated_date, first.language, first.metadata) == (
        "2024-02-03",
        "de",
        {"title": "Über uns", "page_id": "7"},
    )
    assert DUMP.encode()[first.start : first.end].startswith(b"<page>")
    assert DUMP.encode()[first.start : first.end].endswith(b"</page>") and not result.rejects


def test_redirects_and_other_namespaces_are_counted_in_the_log(caplog):
    with caplog.at_level("INFO"):
        extract(DUMP)
    assert "'redirect': 1" in caplog.text and "'other namespace': 1" in caplog.text
    assert [d.uri for d in extract(DUMP, namespaces=(1,)).documents] == ["dewiki/Diskussion:X"]


def test_of_several_revisions_the_newest_is_read():
    old = page("A", "old", stamp="2020-01-01T00:00:00Z").replace("  </page>\n", "")
    new = "<revision><timestamp>2023-01-01T00:00:00Z</timestamp><text>new</text></revision></page>"
    (found,) = extract(f"{HEAD}{old}{new}</mediawiki>").documents
    assert found.text == "# A\n\nnew" and found.stated_date == "2023-01-01"


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_packed_dumps_give_the_same_pages_and_cut_ones_those_before_the_cut(pack):
    assert extract(pack(DUMP.encode())) == extract(DUMP)
    generator = random.Random(2)
    many = HEAD + "".join(page(f"P{n}", str(generator.random()) * 9) for n in range(3000)) + "</mediawiki>"
    packed = pack(many.encode())
    try:
        result = extract(packed[: len(packed) // 2])
    except ExtractionError as error:
        assert error.reason == "parser_error" and pack is bz2.compress  # one bzip2 block is all or nothing
    else:
        assert [reject.reason for reject in result.rejects] == ["parser_error"]


def test_a_cut_dump_keeps_the_pages_before_the_cut():
    result = extract(DUMP[: DUMP.index("Zweite")])
    assert [d.uri for d in result.documents] == ["dewiki/Über_uns"]
    assert [reject.reason for reject in result.rejects] == ["parser_error"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "empty"),
        ("no xml", "parser_error"),
        ("<mediawiki/>", "parser_returned_nothing"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><mediawiki>&b;</mediawiki>', "parser_error"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><mediawiki/>', "parser_error"),
        ("<a>" * 500, "nested_too_deeply"),
        (gzip.compress(b"<mediawiki>" + b" " * (40 << 20)), "too_large"),
    ],
)
def test_what_is_no_dump_has_a_reason(data, reason):
    with pytest.raises(ExtractionError) as refused:
        extract(data)
    assert refused.value.reason == reason


def test_a_page_beyond_the_limit_is_one_reject():
    result = extract(HEAD + page("Long", "word " * 1000) + page("B", "short") + "</mediawiki>", max_page_bytes=1000)
    assert [(r.uri, r.reason) for r in result.rejects] == [("dewiki/Long", "too_large")]
    assert [d.uri for d in result.documents] == ["dewiki/B"]


@pytest.mark.parametrize(
    ("wikitext", "markdown"),
    [
        ("== A ==\ntext\n=== B ===\nmore", "## A\n\ntext\n\n### B\n\nmore"),
        ("* a\n** b\n* c\n\n# x\n# y\n## z\n", "- a\n  - b\n- c\n\n1. x\n2. y\n  1. z"),
        ("before\n* a\nafter", "before\n\n- a\n\nafter"),
        ("; term : meaning\n: more", "term\n:  meaning\nmore"),
        ("[[A page|words]] [[Plain_one]] [[de:Andere]] [https://a.b label] https://c.d", "words Plain one  label https://c.d"),
        ("a<ref>note</ref> <ref name=x/>b <!-- c -->d{{cite|e}}", "a b d"),
        ("<syntaxhighlight lang=\"python\">\nx = '''1'''\n</syntaxhighlight>", "```python\nx = '''1'''\n```"),
        ("<nowiki>'''raw'''</nowiki> ''it'' <code>c</code> <math>x^2</math>", "'''raw''' *it* `c` $x^2$"),
        (
            "{| class=\"w\"\n|+ Title\n! A !! B\n|-\n| 1 || 2\n|-\n| three\n| style=\"x\" | four [[L|l]]\n|}",
            "Title\n\n| A | B |\n| --- | --- |\n| 1 | 2 |\n| three | four l |",
        ),
        ("__NOTOC__ y&nbsp;x &lt;tag&gt;", "y\xa0x <tag>"),
    ],
)  # fmt: skip
def test_wikitext_becomes_markdown(wikitext, markdown):
    assert to_markdown(wikitext).strip(" ") == markdown.strip(" ")


def test_words_of_templates_are_kept_where_asked():
    assert to_markdown("a {{lang|fr|mot}} {{#if:x|y}}", keep_template_words=True) == "a fr mot"


@pytest.mark.parametrize(
    "wikitext",
    [
        "{{" * 3000,
        "[[" * 3000,
        "{|\n" * 300,
        "'''" * 3001,
        "<b>" * 3000,
        "*" * 5000 + "x",
        "{{{" * 2000,
        "<ref>" * 2000,
    ],
)
def test_hostile_wikitext_is_read_without_exploding(wikitext):
    assert len(to_markdown(wikitext + " words")) < 20 * len(wikitext) + 1000


def test_damaged_dumps_give_pages_or_a_reason():
    data, generator = DUMP.encode(), random.Random(11)
    for _ in range(120):
        damaged = bytearray(data if generator.random() < 0.5 else data[: generator.randrange(1, len(data))])
        for _ in range(3):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        try:
            extract(bytes(damaged))
        except ExtractionError:
            continue


def test_dumps_are_found_by_name(tmp_path):
    for name in ("a.xml", "b/c.xml.bz2", "d.sql.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(DUMP.encode())
    config = mediawiki.Config(name="wiki", uri=str(tmp_path))
    entries = list(mediawiki.list_files(config))
    assert [entry.uri for entry in entries] == ["a.xml", "b/c.xml.bz2"]
    assert mediawiki.read_file(config, entries[0]).data == DUMP.encode()
    assert registry.load("source", "mediawiki") is mediawiki
