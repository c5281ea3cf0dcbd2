"""Rules over where a document stands and under which licence: licence, sources, urls."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from datasets_pipeline.licence_classes import CLASSES, is_admitted, licence_class
from datasets_pipeline.rules import licence, sources, urls
from ingot.errors import RecipeError
from tests.curation.pages import page
from tests.curation.road import small_road
from tests.rules.verdict_rows import reasons, rows


def places(*uris: str, source: str = "web", metadata: dict[str, Any] | None = None) -> pa.Table:
    notes = json.dumps(metadata or {}, sort_keys=True)
    return pa.table({"uri": uris, "source": [source] * len(uris), "metadata": [notes] * len(uris)})


def licences(*names: str) -> pa.Table:
    return pa.table({"licence": pa.array(names, pa.string())})


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("CC0-1.0", "public_domain"), ("MIT", "permissive"), ("MIT-0", "permissive"), ("CC-BY-4.0", "permissive"),
        ("LicenseRef-BSD", "permissive"), ("MPL-2.0", "weak_copyleft"), ("LGPL-2.1-only", "weak_copyleft"),
        ("CC-BY-SA-4.0", "weak_copyleft"), ("GPL-3.0-or-later", "copyleft"), ("AGPL-3.0-only", "copyleft"),
        ("CC-BY-NC-SA-4.0", "non_commercial"), ("CC-BY-ND-4.0", "no_derivatives"), ("internal", "other"),
        ("unknown", "unknown"),
    ],
)  # fmt: skip
def test_an_identifier_has_a_class(name: str, kind: str) -> None:
    assert kind in CLASSES
    assert licence_class(name) == kind


@pytest.mark.parametrize(
    ("expression", "admitted"),
    [
        ("MIT", True), ("GPL-2.0-only", False), ("MIT OR GPL-2.0-only", True), ("MIT AND GPL-2.0-only", False),
        ("GPL-2.0-only AND MIT OR MIT", True), ("GPL-2.0-only AND (MIT OR MIT)", False), ("(MIT)", True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False), ("MIT OR", False), ("MIT MIT", False), ("(MIT", False),
        ("", False), (") OR (", False),
    ],
)  # fmt: skip
def test_an_expression_is_admitted_when_it_leaves_an_admitted_choice(expression: str, admitted: bool) -> None:
    assert is_admitted(expression, lambda names: "MIT" in names) is admitted


def test_licences_are_allowed_and_denied_by_name_class_and_beginning() -> None:
    table = licences("MIT", "CC-BY-4.0", "GPL-3.0-only", "MIT OR GPL-3.0-only", "unknown", "internal")
    refused, unknown, denied = "licence_not_allowed", "licence_unknown", "licence_denied"
    assert reasons(licence, table, allow=["permissive"]) == [None, None, refused, None, unknown, refused]
    assert reasons(licence, table, allow=["mit license", "unknown"]) == [None, refused, refused, None, None, refused]
    assert reasons(licence, table, allow=["permissive"], deny=["CC-BY*"])[1] == denied
    assert reasons(licence, table, deny=["copyleft"]) == [None, None, denied, None, None, None]
    assert reasons(licence, table, deny=["permissive"])[3] is None  # the GPL is the choice that is left
    assert reasons(licence, licences(), allow=["MIT"]) == []


def test_a_licence_with_an_exception_goes_by_both_names() -> None:
    whole = "GPL-2.0-only WITH Classpath-exception-2.0"
    table = licences(whole, "GPL-2.0-only", f"{whole} OR MIT")
    denied = "licence_denied"
    assert reasons(licence, table, deny=["GPL-2.0-only"]) == [denied, denied, None]
    assert reasons(licence, table, deny=[whole]) == [denied, None, None]
    assert reasons(licence, table, allow=[whole]) == [None, "licence_not_allowed", None]
    assert reasons(licence, table, allow=["copyleft"], deny=[whole]) == [denied, None, "licence_not_allowed"]


def test_the_strictest_licence_of_the_open_places_is_judged(tmp_path: Path) -> None:
    stated = f"---\nlicense: AGPL-3.0-only\n---\n{page(1)}"
    road = small_road(tmp_path, {"one": {"a.md": page(1), "c.md": page(2)}, "two": {"b.md": stated}})
    road.values["sources"] = [{**entry, "licence": "MIT"} for entry in road.corpus.recipe["sources"]]
    road.values["rules"] = [{"rule": "licence", "allow": ["permissive"]}]
    found = road.outcomes(road.run())
    assert (found["one:a.md"]["rule"], found["one:a.md"]["reason"]) == ("licence", "licence_not_allowed")
    assert found["one:c.md"]["outcome"] == "kept"
    # The strict place vanishes: the text comes back.
    road.corpus.path("two", "b.md").unlink()
    road.corpus.write("two", "d.md", page(3))
    assert road.outcomes(road.run())["one:a.md"]["outcome"] == "kept"


def test_sources_and_paths_are_allowed_and_denied(tmp_path: Path) -> None:
    table = places("docs/a.md", "docs/drafts/b.md", "c.zip!/docs/drafts/x.md", "mail.mbox#3")
    assert reasons(sources, table, deny=["web"]) == ["source_denied"] * 4
    assert reasons(sources, table, allow=["wiki"]) == ["source_not_allowed"] * 4
    assert reasons(sources, table, deny_paths=["**/drafts/**"]) == [None, "path_denied", None, None]
    assert reasons(sources, table, allow_paths=["docs/", "*.mbox"], deny_paths=["**/drafts/*"]) == [
        None, "path_denied", "path_not_allowed", None,
    ]  # fmt: skip
    pages = {"a.md": page(1), "drafts/b.md": page(2)}
    road = small_road(tmp_path, {"notes": pages, "old": {"c.md": page(3)}})
    road.values["rules"] = [{"rule": "sources", "deny": ["old"], "deny_paths": ["drafts/"]}]
    found = {name: row["reason"] for name, row in road.outcomes(road.run()).items()}
    assert found == {"notes:a.md": None, "notes:drafts/b.md": "path_denied", "old:c.md": "source_denied"}


def test_addresses_are_allowed_and_denied_by_host_domain_prefix_and_word() -> None:
    table = places(
        "https://docs.Example.org/a/b.html", "http://example.org./private/x", "https://other.net/casino-bonus?free=1",
        "https://example.org.evil.net/a/", "notes/a.md", "https://[bad/",
    )  # fmt: skip
    host, domain, prefix, word = (f"url_{what}_denied" for what in ("host", "domain", "prefix", "word"))
    out = "url_not_allowed"
    assert reasons(urls, table, deny_hosts=["example.org"]) == [None, host, None, None, None, None]
    assert reasons(urls, table, deny_domains=["Example.org"]) == [domain, domain, None, None, None, None]
    assert reasons(urls, table, deny_prefixes=["example.org/private/"]) == [None, prefix, None, None, None, None]
    assert reasons(urls, table, deny_words=["bonus"]) == [None, None, word, None, None, None]
    assert reasons(urls, table, deny_words=["bon"])[2] is None
    assert reasons(urls, table, soft_words=["casino", "free"])[2] == "url_soft_words"
    assert reasons(urls, table, soft_words=["casino", "free"], max_soft_words=2)[2] is None
    assert reasons(urls, table, allow_domains=["example.org"]) == [None, None, out, out, None, out]
    assert reasons(urls, table, allow_prefixes=["docs.example.org/a/"])[:2] == [None, out]
    abstained = [row[3] for row in rows(urls.judge(urls.Config(deny_words=["x"]), table))]
    assert abstained == [False, False, False, False, True, False]
    stated = places("row-1", metadata={"url": "https://example.org/x"})
    assert reasons(urls, stated, deny_hosts=["example.org"]) == [host]


def test_lists_are_read_from_local_files_and_their_content_is_an_input(tmp_path: Path) -> None:
    names = tmp_path / "domains.txt"
    names.write_text("# a list\nOther.net  # bad\n\nspam.example\n")
    config = urls.Config.model_validate({"lists": [{"kind": "deny_domains", "uri": str(names)}]})
    table = places("https://a.other.net/", "https://b.net/")
    assert urls.judge(config, table).reason.to_pylist() == ["url_domain_denied", None]
    before = urls.inputs(config)
    names.write_text("spam.example\nother.net\n# the same list\n")
    assert urls.inputs(config) == before
    names.write_text("spam.example\n")
    assert urls.inputs(config) != before
    assert urls.judge(config, table).reason.to_pylist() == [None, None]
    names.write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match="is not UTF-8"):
        urls.inputs(config)
    names.unlink()
    with pytest.raises(RecipeError, match="cannot be read"):
        urls.inputs(config)


def test_a_changed_list_is_another_version_and_its_place_is_not(tmp_path: Path) -> None:
    names = tmp_path / "words.txt"
    names.write_text("casino\n")
    road = small_road(tmp_path, {"notes": {"a.md": page(1)}})
    road.values["rules"] = [{"rule": "urls", "lists": [{"kind": "deny_words", "uri": str(names)}]}]
    first = road.run()
    moved = tmp_path / "elsewhere.txt"
    moved.write_text("casino\n")
    road.values["rules"][0]["lists"][0]["uri"] = str(moved)
    assert road.run().digests == first.digests
    moved.write_text("casino\nbonus\n")
    assert road.run().digests[2] != first.digests[2]


@pytest.mark.parametrize(
    ("rule", "options"),
    [
        (licence, {}), (licence, {"allow": []}), (licence, {"allow": [" "]}), (sources, {}), (sources, {"allow": []}),
        (sources, {"deny_paths": ["/absolute"]}), (sources, {"deny_paths": ["a[b"]}), (urls, {}),
        (urls, {"deny_hosts": ["https://example.org"]}), (urls, {"deny_domains": ["*.example.org"]}),
        (urls, {"deny_words": [""]}), (urls, {"deny_words": ["free-bet"]}),
        (urls, {"soft_words": ["a_b"]}), (urls, {"lists": [{"kind": "hosts", "uri": "x"}]}),
    ],
)  # fmt: skip
def test_what_asks_nothing_or_cannot_match_is_refused(rule: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        rule.Config.model_validate(options)
