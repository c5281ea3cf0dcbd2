"""What a person reads before approving: the gate's numbers and what changed in the data, from the store alone."""

import pytest

from ingot import evidence, ledger, model_versions, promotion
from ingot.evidence import Change
from ingot.markdown import plain
from ingot.storage import Store
from tests.base.judged import judge
from tests.base.tiny_store import ACTOR, TEXTS, TinyStore


@pytest.fixture
def store(tiny: TinyStore) -> Store:
    """mini/1 of handbook@1 is the champion."""
    one = model_versions.resolve(tiny.store, "mini/1")
    judge(tiny.store, one, champion=None)
    promotion.promote(tiny.store, one, actor=ACTOR, reason="first")
    return tiny.store


def collect(store: Store, model: str) -> evidence.Evidence:
    version = model_versions.resolve(store, model)
    gated = promotion.latest_verdict(ledger.read(store), version)
    assert gated is not None
    return evidence.collect(store, version, gated)


def test_a_candidate_stands_beside_the_champion_with_both_corpus_versions(store):
    verdict = judge(store, model_versions.resolve(store, "mini/2"), champion=1)
    found = collect(store, "mini/2")
    assert found.champion is not None and found.champion.version == 1
    assert {
        Change("documents kept", 2, 3),
        Change("documents held out", 1, 1),
        Change("documents dropped", 1, 1),
        Change("dropped as duplicate", 1, 1),
        Change("training tokens", 20, 30),
        Change("documents of source wiki", 2, 3),
        Change("documents of licence internal", 2, 3),
        Change("tokens of licence internal", 20, 30),
    } == set(found.changes)
    page = evidence.evidence_markdown(found)
    for words in (
        "## mini/2: PASS", verdict.reason, f"| {verdict.difference:+.3f} | {verdict.low:+.3f} to {verdict.high:+.3f} |",
        "baseline ngram | 2.900", "handbook@1 to handbook@2", "| training tokens | 20 | 30 | +10 |",
        "| documents dropped | 1 | 1 | = |", "Asked for by maria",
    ):  # fmt: skip
        assert words in page, words
    assert not any(text[:20] in page for text in TEXTS.values())


def test_without_a_champion_the_counts_stand_alone(store):
    found = collect(store, "mini/1")
    assert found.champion is None and found.changes[0] == Change("documents kept", None, 2)
    page = evidence.evidence_markdown(found)
    assert "### The data: handbook@1" in page and "champion mini" not in page


def test_the_verdict_named_is_the_one_shown_also_when_a_newer_one_is_there(store):
    version = model_versions.resolve(store, "mini/2")
    judge(store, version, champion=1, gain=0.2)
    first = promotion.latest_verdict(ledger.read(store), version)
    judge(store, version, champion=1, gain=-0.2)
    assert "mini/2: PASS" in evidence.evidence_markdown(evidence.collect(store, version, first))
    assert "mini/2: FAIL" in evidence.evidence_markdown(collect(store, "mini/2"))


def test_a_name_cannot_break_out_of_its_cell():
    assert plain("a|b\n<img src=x> `c` [d](e)") == r"a&#124;b &lt;img src=x&gt; \`c\` \[d\](e)"
