"""`ingot trace --html` writes pages that need no network and hold no text; the runs of a corpus without MLflow."""

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from ingot import manifest, model_versions, promotion
from ingot.errors import NotFoundError
from ingot.pictures import SVG_NAMESPACE
from interface.audit import runs_of_corpus
from interface.cli import main
from tests.base.tiny_store import ACTOR, TEXTS, TinyStore, build, doc_id


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyStore:
    folder = tmp_path_factory.mktemp("tiny")
    tiny = build(folder / "store", folder / "sources")
    promotion.promote(tiny.store, model_versions.resolve(tiny.store, "mini/2"), actor=ACTOR, reason="the <b>first</b>")
    return tiny


@pytest.fixture(autouse=True)
def store(tiny: TinyStore, home: Path, monkeypatch: pytest.MonkeyPatch) -> TinyStore:
    """Commands ask the tiny store."""
    monkeypatch.setenv("INGOT_STORE", str(tiny.root))
    return tiny


def page_of(kind: str, query: str, folder: Path) -> str:
    assert main(["trace", kind, query, "--html", str(folder / "page.html")]) == 0
    return (folder / "page.html").read_text()


def labels(page: str) -> list[str]:
    """The words of all pictures."""
    svgs = re.findall(r"<svg.*?</svg>", page, flags=re.S)
    return [n.text or "" for svg in svgs for n in ElementTree.fromstring(svg).iter(f"{{{SVG_NAMESPACE}}}text")]


def test_a_models_page_shows_the_road_from_source_to_champion(tiny: TinyStore, tmp_path: Path) -> None:
    page = page_of("model", "mini@champion", tmp_path)
    words = labels(page)
    road = ["wiki", "handbook@2", "step 12", "mini/2", "gate: FIRST", "champion", "by maria"]
    assert [word for word in words if word in road] == road and "30 tokens" in words
    assert {"duplicate (near_duplicate)", "1 (20.0%)"} <= set(words)  # why documents were dropped
    assert "the &lt;b&gt;first&lt;/b&gt; [record 6]" in page
    version = model_versions.resolve(tiny.store, "mini/2")
    assert version.evidence["checkpoint"] in page and version.registered.sha256 in page
    assert "-0.9000 to -0.5000" in page and "100.0%" in page


def test_a_candidate_that_nobody_judged_has_a_page_too(tmp_path: Path) -> None:
    page = page_of("model", "mini/1", tmp_path)
    assert "Not promoted." in page and "Not evaluated yet" in page
    assert "champion" not in labels(page)


def test_a_documents_page_shows_where_it_went_and_why(tmp_path: Path) -> None:
    page = page_of("document", "guide/install-copy.md", tmp_path)
    assert {"guide/install-copy.md", "handbook@1", "handbook@2", "dropped"} <= set(labels(page))
    assert "in favour of" in page and doc_id("guide/install.md").hex() in page and "No model saw it." in page
    kept = page_of("document", doc_id("guide/install.md").hex(), tmp_path)
    assert {"mini/1", "mini/2", "trained on it", "champion"} <= set(labels(kept))


@pytest.mark.parametrize(("kind", "query"), [("model", "mini/2"), ("document", "guide/install.md")])
def test_pages_ask_the_network_for_nothing_and_hold_no_text(kind: str, query: str, tmp_path: Path) -> None:
    page = page_of(kind, query, tmp_path)
    assert "default-src 'none'" in page
    assert not re.search(r"https?:|url\(|@import|<link|<script|<img|<iframe|<a ", page.replace(SVG_NAMESPACE, ""))
    assert not any(text[10:40] in page for text in TEXTS.values())


def test_a_page_that_cannot_be_written_is_an_error_that_names_the_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "no-folder" / "page.html"
    assert main(["trace", "model", "mini/2", "--html", str(place)]) == 75
    assert f"{place} cannot be written: No such file or directory" in capsys.readouterr().err


def test_json_names_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", "model", "mini/2", "--html", str(tmp_path / "page.html"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["html"] == str(tmp_path / "page.html")


def test_the_runs_of_a_corpus_are_found_by_name_and_by_digest_from_the_store_alone(tiny: TinyStore) -> None:
    runs = runs_of_corpus(tiny.store, "handbook@2")
    assert [(r["experiment"], r["model"], r["corpus"]) for r in runs] == [
        ("training", "mini/2", "handbook@2"),
        ("evaluation", "mini/2", "handbook@2"),
    ]
    found = manifest.read(tiny.store, "handbook", 2)
    for digest in (found.identity.root_digest, found.identity.root_digest[:32], found.identity_digest[:12].upper()):
        assert runs_of_corpus(tiny.store, digest) == runs
    assert [r["model"] for r in runs_of_corpus(tiny.store, "handbook@1")] == ["mini/1"]
    assert runs_of_corpus(tiny.store, "handbook") == runs  # the newest version
    with pytest.raises(NotFoundError, match="handbook has versions 1 to 2"):
        runs_of_corpus(tiny.store, "handbook@9")
    with pytest.raises(NotFoundError, match="no corpus version has a digest that begins with abcdef0123"):
        runs_of_corpus(tiny.store, "abcdef0123")
