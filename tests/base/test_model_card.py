"""The card of a model version: made from the store and the ledger, and short enough for MLflow."""

from typing import Any

from datasets_pipeline.card import description
from ingot import ledger, manifest, markdown, model_versions, promotion
from ingot.ledger import Actor
from ingot.model_card import card, card_markdown, moves, standing
from ingot.registered import corpus_address, model_address, model_record
from tests.base.tiny_store import ACTOR, TinyStore


def card_of(tiny: TinyStore, number: int = 2) -> dict[str, Any]:
    return card(tiny.store, model_versions.resolve(tiny.store, f"mini/{number}"))


def promote(tiny: TinyStore, reason: str = "the first that works") -> promotion.Promotion:
    return promotion.promote(tiny.store, model_versions.resolve(tiny.store, "mini/2"), actor=ACTOR, reason=reason)


def test_a_card_names_corpus_recipe_code_verdict_licences_and_digests(tiny: TinyStore) -> None:
    found = card_of(tiny)
    published = manifest.read(tiny.store, "handbook", 2)
    assert (found["corpora"][0]["corpus"], found["corpora"][0]["version"]) == ("handbook", 2)
    assert found["recipe"] == {"name": "mini", "digest": found["digests"]["recipe"]}
    assert found["licences"] == [{"name": "internal", "documents": 3, "bytes": 196, "tokens": 30, "share": 1.0}]
    assert found["verdict"]["verdict"] == "FIRST" and found["verdict"]["baselines"][0]["high"] == -0.5
    assert found["digests"]["corpus content"] == published.identity.content_digest
    assert [e["verb"] for e in found["ledger"]] == ["registered", "gated"]
    assert found["ledger"][1]["sha256"] == ledger.head(tiny.store)[1]


def test_a_card_says_who_promoted_why_and_that_another_one_took_over(tiny: TinyStore) -> None:
    assert standing(card_of(tiny)) == "Not promoted."
    first = promote(tiny)
    assert standing(card_of(tiny)) == f"Made champion by maria, ledger record {first.entry.sequence}."
    assert "maria (declared) promoted mini/2: the first that works [record 6]" in moves(card_of(tiny))[0]
    one = model_versions.resolve(tiny.store, "mini/1")
    ledger.append(
        tiny.store, actor=Actor("person", "jo", "os_user"), verb="rolled_back", subject=one.subject,
        subject_digest=one.evidence["checkpoint"], evidence={}, attempt="1",
        details={"model": "mini", "version": 1, "previous": 2, "reason": "too slow"},
    )  # fmt: skip
    assert standing(card_of(tiny, 2)) == "Was the champion until ledger record 7."
    assert standing(card_of(tiny, 1)) == "Made champion by jo, ledger record 7."
    assert "jo (os_user) rolled back to mini/1 in place of mini/2: too slow [record 7]" in moves(card_of(tiny, 2))[1]


def test_looking_into_a_report_does_not_change_the_card(tiny: TinyStore) -> None:
    before = card_of(tiny)
    ledger.append(
        tiny.store, actor=ACTOR, verb="read_text", subject="model mini/2", subject_digest="", evidence={}, attempt="1"
    )
    assert card_of(tiny) == before


def test_the_description_links_the_corpus_and_shows_hostile_words_as_they_are(tiny: TinyStore) -> None:
    promote(tiny, reason="<img src=x> | *now* [link](//evil)\n# heading")
    text = card_markdown(card_of(tiny), corpus_address)
    assert "[handbook@2](#/models/corpus-handbook/versions/2)" in text
    assert "&lt;img src=x&gt; &#124; \\*now\\* \\[link\\](//evil) # heading" in text
    assert "| xz | &emsp;3.100 | &emsp;-0.7000 | &emsp;-0.9000 to -0.5000 |" in text
    assert "| internal | &emsp;3 | &emsp;30 | &emsp;100.0% |" in text


def test_a_description_stays_below_what_mlflow_stores_and_says_what_it_leaves_out(tiny: TinyStore) -> None:
    found = card_of(tiny)
    found["licences"] = [
        {"name": f"licence {n} " + "x" * 60, "documents": 1, "bytes": 1, "tokens": 1, "share": 0.005}
        for n in range(200)
    ]
    found["ledger"] = found["ledger"] * 40
    text = card_markdown(found)
    assert len(text) <= markdown.DESCRIPTION_CHARACTERS
    assert "more | &emsp;1" in text.replace("&emsp;19", "&emsp;1") and "**Digests** (SHA-256)" in text
    found["verdict"]["reason"] = "r" * 9000  # a reason is cut, a table is shortened
    assert len(card_markdown(found)) <= markdown.DESCRIPTION_CHARACTERS
    found["code"] = {"version": "v" * 9000}
    assert card_markdown(found).endswith("Cut here; `ingot trace model` shows all of it.")


def test_a_record_for_mlflow_follows_the_ledger(tiny: TinyStore) -> None:
    version = model_versions.resolve(tiny.store, "mini/2")
    assert model_record(tiny.store, version).aliases == ("candidate",)
    promote(tiny)
    record = model_record(tiny.store, version)
    assert record.aliases == ("candidate", "champion")
    assert record.tags["ingot.verdict"] == "FIRST" and record.tags["ingot.bits_per_byte"] == "2.4000"
    first = model_record(tiny.store, model_versions.resolve(tiny.store, "mini/1"))
    assert first.aliases == () and "ingot.verdict" not in first.tags and "Not evaluated yet" in first.description


def test_a_corpus_version_is_described_by_its_waterfall_its_models_and_its_digests(tiny: TinyStore) -> None:
    found = manifest.read(tiny.store, "handbook", 2)
    published = next(e for e in ledger.read(tiny.store) if e.subject == "handbook@2")
    text = description(
        found, manifest.ref_of(found, 2), published, [("mini/2", model_address("mini", 2))]
    )
    assert "| duplicate (near\\_duplicate) | &emsp;1 | &emsp;20.0% |" in text
    assert "- [mini/2](#/models/mini/versions/2)" in text
    assert f"`dataset.digest = '{found.identity.root_digest[:32]}'`" in text and published.sha256 in text


def test_a_long_waterfall_keeps_its_sum(tiny: TinyStore) -> None:
    found = manifest.read(tiny.store, "handbook", 2)
    reasons = [["rule", f"reason {n} " + "x" * 80, n] for n in range(1, 101)]
    counts = {**found.identity.accounting, "documents": 5050 + 4, "kept": 3, "heldout": 1, "dropped": 5050}
    statistics = {**found.identity.statistics, "waterfall": reasons}
    identity = found.identity.model_copy(update={"accounting": counts, "statistics": statistics})
    changed = found.model_copy(update={"identity": identity})
    text = description(changed, manifest.ref_of(found, 2), None, [])
    assert len(text) <= markdown.DESCRIPTION_CHARACTERS
    rows = [line for line in text.split("**Models")[0].splitlines() if line.startswith("| ") and "---" not in line][1:]
    documents = [int(row.split("|")[2].replace("&emsp;", "").replace(",", "")) for row in rows]
    assert documents[0] == sum(documents[1:]) == 5054
    assert "| 76 more reasons |" in text
