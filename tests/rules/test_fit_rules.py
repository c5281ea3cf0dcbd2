"""Thresholds fitted on good text of a language, and the command that prints them."""

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml

from datasets_pipeline.features.stop_words import STOP_WORDS
from datasets_pipeline.fit_rules import fit, section, stop_words
from datasets_pipeline.rules import gopher_quality
from interface.cli import main
from tests.features.feature_rows import features_of
from tests.features.real_documents import labelled_documents
from tests.rules.verdict_rows import reasons

# Finnish has no list; its words are long.
FINNISH = [
    f"Kirjaston tietojärjestelmä {k} tallentaa käyttäjien lainaustiedot ja varausmerkinnät luotettavasti. Järjestelmän "
    "ylläpitäjät tarkastavat varmuuskopiot säännöllisesti, ja tietoturvapäivitykset asennetaan viikoittain. "
    f"Asiakaspalvelu vastaa kysymyksiin {k} minuutissa, mutta ruuhka-aikoina vastaaminen kestää kauemmin."
    + " Käyttöohjekokoelmat julkaistaan tietojärjestelmäverkkosivustoilla." * (4 + k % 3)
    for k in range(60)
]


def test_a_threshold_that_loses_good_text_moves_to_the_percentile() -> None:
    fitted = {(check.rule, check.field): check for check in fit(FINNISH, "fi", 0.02)}
    length = fitted["gopher_quality", "max_avg_word_length"]
    assert length.published == 10 and length.lost == 1.0
    assert length.fitted is not None and 10 < length.fitted < 15
    assert fitted["gopher_quality", "min_stop_words"].fitted is None
    # What loses nothing stays as published.
    assert fitted["gopher_quality", "max_symbol_word_ratio"].fitted == 0.1
    assert {rule for rule, _ in fitted} == {"gopher_quality", "gopher_repetition", "fineweb_quality", "nemo_heuristics"}


def test_with_the_fitted_section_each_check_loses_at_most_its_share() -> None:
    lost = 0.05
    options = section(fit(FINNISH, "fi", lost), "fi")["gopher_quality"]
    features = features_of(FINNISH, "fi")
    assert set(reasons(gopher_quality, features, per_language={"fi": {"min_stop_words": None}})) != {None}
    found = reasons(gopher_quality, features, **options)
    assert found.count(None) >= (1 - 2 * lost) * len(FINNISH)


def test_a_language_whose_text_passes_needs_nothing() -> None:
    texts = [text for text in (text for _, text in labelled_documents(language="en")) if 500 < len(text) < 20_000]
    kept = [t for t, r in zip(texts, reasons(gopher_quality, features_of(texts)), strict=True) if r is None]
    assert "gopher_quality" not in section(fit(kept, "en", 0.01), "en")


def test_stop_words_stand_in_most_documents_and_not_in_english() -> None:
    assert {"ja", "kirjaston"} <= set(stop_words(FINNISH))
    documents = [row for row in labelled_documents() if row[0] in STOP_WORDS and row[0] != "en"]
    ((language, num),) = Counter(code for code, _ in documents).most_common(1)
    found = stop_words(text for code, text in documents if code == language)
    assert num >= 20
    assert len(set(found) & set(STOP_WORDS[language])) >= 6, (language, found)
    assert not set(found) & set(STOP_WORDS["en"])


def test_a_word_keeps_its_vowel_signs() -> None:
    hindi = ["यह पुस्तक अच्छी है और वह पुस्तक भी अच्छी है।", "वह घर बड़ा है और यह घर छोटा है।"]
    found = stop_words(hindi)
    assert {"है", "और", "यह", "वह"} == set(found[:4])
    assert "ह" not in found


def test_the_command_prints_a_section_that_a_recipe_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [json.dumps({"text": text}) for text in FINNISH]
    (tmp_path / "good.jsonl").write_text("\n".join(lines))
    assert main(["fit-rules", str(tmp_path), "--language", "fi"]) == 0
    printed = capsys.readouterr().out
    rules = yaml.safe_load(printed[printed.index("rules:") : printed.index("stop words found")])["rules"]
    entry = next(entry for entry in rules if entry["rule"] == "gopher_quality")
    gopher_quality.Config.model_validate({key: value for key, value in entry.items() if key != "rule"})
    assert "fi has none" in printed
    assert main(["fit-rules", str(tmp_path), "--language", "fi", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["documents"] == len(FINNISH)


def test_a_section_keeps_what_the_rule_knows_of_the_language() -> None:
    checks = fit(FINNISH, "ru", 0.02)
    options = section(checks, "ru")["gopher_quality"]["per_language"]["ru"]
    known = gopher_quality.LANGUAGE_THRESHOLDS["ru"]["max_non_alpha_words_ratio"]
    assert options["max_avg_word_length"] > 10
    assert options["max_non_alpha_words_ratio"] == known != gopher_quality.Thresholds().max_non_alpha_words_ratio


def test_json_lines_may_hold_line_separators_and_only_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [json.dumps({"text": f"{text}\u2028{text}"}, ensure_ascii=False) for text in FINNISH[:3]]
    (tmp_path / "good.jsonl").write_text("\n".join([*lines, ""]), encoding="utf-8")
    assert main(["fit-rules", str(tmp_path), "--language", "fi", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["documents"] == 3
    (tmp_path / "good.jsonl").write_text('{"text": 7}')
    assert main(["fit-rules", str(tmp_path), "--language", "fi"]) == 2
    assert "mend it or take it out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code"),
    [(["."], 2), ([".", "--language", "Finnish"], 2), ([".", "--language", "fi", "--lost", "1"], 2),
     (["nowhere", "--language", "fi"], 4)],
)  # fmt: skip
def test_what_it_cannot_use_is_refused(
    words: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INGOT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert main(["fit-rules", *words]) == code


def test_what_a_recipe_sets_for_all_languages_holds_in_those_with_thresholds_of_their_own() -> None:
    text = "Слово и дело, и ещё одно слово в книге — не так ли? Да, это так: он читал её на лавке. " * 6
    features = features_of([text], "ru")
    share = features["num_alpha_words"][0].as_py() / features["num_words"][0].as_py()
    assert 0.76 < share < 0.80
    assert reasons(gopher_quality, features) == [None]
    below = "gopher_below_alpha_threshold"
    assert reasons(gopher_quality, features, max_non_alpha_words_ratio=0.8) == [below]
    assert reasons(gopher_quality, features, per_language={"ru": {}}) == [below]
    assert reasons(gopher_quality, features, min_doc_words=60) == [None]
