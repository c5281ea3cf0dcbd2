"""Threshold rules: what they say, where they abstain, what their configuration refuses."""

import pyarrow as pa
import pytest
from pydantic import ValidationError

from datasets_pipeline.features import compute_features
from datasets_pipeline.rules import fineweb_quality, gopher_quality, gopher_repetition, language, length
from tests.features.feature_rows import features_of
from tests.features.real_documents import labelled_documents
from tests.rules.verdict_rows import reasons, rows

ENGLISH = "The road to the old mill goes along the river and we have walked it with friends in every season. " * 4
GERMAN = (
    "Ein Dienst ist eine Einheit, die über das Netz erreichbar ist und von anderen Diensten nicht abhängt. "
    "Die Konfiguration wird beim Start gelesen und gilt für alle Anfragen. "
) * 3
FRENCH = (
    "Un conteneur est un processus isolé avec ses propres ressources, que le système gère pour l'utilisateur. "
    "La plateforme le redémarre dans le cas où une panne est détectée. "
) * 3
PUBLISHED_RULES = [gopher_quality, gopher_repetition, fineweb_quality]


def test_a_failing_check_gives_its_reason_score_and_threshold() -> None:
    features = features_of([ENGLISH, "only five words are here"])
    assert rows(gopher_quality.judge(gopher_quality.Config(), features)) == [
        (None, None, None, False),
        ("gopher_short_doc", 5.0, 50.0, False),
    ]


def test_german_and_french_pages_are_not_dropped_for_missing_english_stop_words() -> None:
    assert reasons(gopher_quality, features_of([GERMAN], "de")) == [None]
    assert reasons(gopher_quality, features_of([FRENCH], "fr")) == [None]
    # The control: judged as English they would be.
    assert reasons(gopher_quality, features_of([GERMAN, FRENCH], "en")) == ["gopher_enough_stop_words"] * 2


def test_real_pages_of_listed_languages_have_their_stop_words() -> None:
    judged = [row for row in labelled_documents() if row[0] in gopher_quality.LANGUAGES]
    texts, codes = [text for _, text in judged], [code for code, _ in judged]
    features = compute_features(pa.array(texts), pa.array(["text/plain"] * len(texts)), pa.array(codes))
    only_stop_words = {name: None for name in gopher_quality.Thresholds.model_fields if name[:3] in ("min", "max")}
    found = reasons(gopher_quality, features, **{**only_stop_words, "min_stop_words": 2})
    failed = {code: 0 for code in codes}
    for code, reason in zip(codes, found, strict=True):
        failed[code] += reason is not None
    assert len(failed) >= 9
    assert sum(failed.values()) <= 0.02 * len(codes), failed


@pytest.mark.parametrize("rule", PUBLISHED_RULES)
def test_published_rules_abstain_outside_their_languages_and_media(rule) -> None:
    bad = "字 " * 10
    for code in ("ja", "zh", "th", "und", "fi"):
        assert rows(rule.judge(rule.Config(), features_of([bad], code))) == [(None, None, None, True)]
    for media in ("text/x-python", "application/json", "text/csv"):
        assert rows(rule.judge(rule.Config(), features_of([bad], "en", media)))[0][3] is True
    for media in ("text/markdown", "text/html", "application/pdf", "text/x-rst", "text/x-python-metadata"):
        assert rows(rule.judge(rule.Config(), features_of([bad], "en", media)))[0][3] is False


@pytest.mark.parametrize("rule", [*PUBLISHED_RULES, length])
def test_no_rule_fails_on_empty_huge_or_strange_text(rule) -> None:
    texts = ["", " ", "x" * 200_000, "漢字" * 5000, "🎉" * 5000, "\x00\ufffe\u200b", "a\n" * 5000]
    found = rows(rule.judge(rule.Config(), features_of(texts)))
    assert len(found) == len(texts)
    assert all((reason is None) == (score is None) for reason, score, _, _ in found)


def test_verdicts_do_not_depend_on_the_batch() -> None:
    texts = [ENGLISH, "", GERMAN, "short", "a b " * 100, ENGLISH.upper()]
    for rule in PUBLISHED_RULES:
        whole = rows(rule.judge(rule.Config(), features_of(texts)))
        alone = [rows(rule.judge(rule.Config(), features_of([text])))[0] for text in texts]
        assert whole == alone


def test_thresholds_can_differ_by_language() -> None:
    features = compute_features(
        pa.array(["one two three four five six"] * 2), pa.array(["text/plain"] * 2), pa.array(["en", "de"])
    )
    options = {"min_doc_words": 5, "min_stop_words": None, "per_language": {"de": {"min_stop_words": None}}}
    # German gets a complete set of its own: the published minimum of 50 words, not the rule's 5.
    assert reasons(gopher_quality, features, **options) == [None, "gopher_short_doc"]


def test_a_language_has_thresholds_of_its_own_where_signs_stand_among_longer_or_fewer_words() -> None:
    # 21 and 22 signs in 100 words, and 106 marks in 1,000.
    few_signs, signs = (" ".join(["word"] * (100 - num) + ["+"] * num) for num in (21, 22))
    marks = " ".join(["word"] * 894 + ["#"] * 106)
    for text, code, reason in (
        (few_signs, "en", "gopher_below_alpha_threshold"),
        (few_signs, "nl", None),
        (signs, "nl", "gopher_below_alpha_threshold"),
        (signs, "de", None),
        (signs, "pl", None),
        (marks, "en", "gopher_too_many_hashes"),
        (marks, "pl", None),
    ):
        assert reasons(gopher_quality, features_of([text], code), min_stop_words=None) == [reason], (code, reason)


def test_a_language_without_stop_words_is_judged_only_when_that_check_is_off() -> None:
    with pytest.raises(ValidationError, match="'fi' has no stop-word list"):
        gopher_quality.Config(per_language={"fi": {}})
    found = reasons(gopher_quality, features_of(["yksi kaksi"], "fi"), per_language={"fi": {"min_stop_words": None}})
    assert found == ["gopher_short_doc"]


@pytest.mark.parametrize("rule", PUBLISHED_RULES)
def test_language_keys_must_be_codes_as_stored(rule) -> None:
    with pytest.raises(ValidationError, match="'pt-BR'.*'pt'"):
        rule.Config(per_language={"pt-BR": {}})


def test_text_in_capitals_passes_only_when_asked_for() -> None:
    features = features_of([ENGLISH.upper()])
    assert reasons(gopher_quality, features) == ["gopher_enough_stop_words"]
    assert reasons(gopher_quality, features, stop_words_any_case=True) == [None]


def test_a_check_switched_off_never_fails() -> None:
    features = features_of(["word"])
    nothing = {name: None for name in gopher_quality.Thresholds.model_fields if name != "stop_words_any_case"}
    assert reasons(gopher_quality, features, **nothing) == [None]


def test_the_language_rule_keeps_what_is_listed_and_believed() -> None:
    features = compute_features(
        pa.array([ENGLISH, GERMAN, "status info error", "123", FRENCH, GERMAN]),
        pa.array(["text/plain"] * 6),
        pa.array([None, None, None, None, None, "en"]),
    )
    found = rows(language.judge(language.Config(keep=["en", "de"]), features))
    assert [row[0] for row in found] == [
        None, None, "language_score_too_low", "language_unknown", "language_not_kept", None,
    ]  # fmt: skip
    assert found[2][2] == 0.65
    relaxed = language.Config(keep=["de", "en"], min_score=None, keep_unknown=True)
    assert [row[0] for row in rows(language.judge(relaxed, features))] == [None] * 4 + ["language_not_kept", None]


def test_the_language_rule_takes_codes_in_any_form_and_refuses_names() -> None:
    assert language.Config(keep=["pt-BR", "EN", "por"]) == language.Config(keep=["en", "pt"])
    with pytest.raises(ValidationError, match="'English' is not a language code"):
        language.Config(keep=["English"])
    with pytest.raises(ValidationError):
        language.Config(keep=[])


def test_the_length_rule_names_the_bound_that_was_broken() -> None:
    features = features_of(["one two, three!", "é" * 10, ""])
    assert reasons(length, features) == ["too_few_words"] * 3
    assert reasons(length, features, min_words=3) == [None, "too_few_words", "too_few_words"]
    assert reasons(length, features, min_words=None, max_words=2) == ["too_many_words", None, None]
    assert reasons(length, features, min_words=None, min_chars=11) == [None, "too_few_chars", "too_few_chars"]
    assert reasons(length, features, min_words=None, max_chars=10) == ["too_many_chars", None, None]
    assert reasons(length, features, min_words=None, max_bytes=19) == [None, "too_many_bytes", None]
    assert rows(length.judge(length.Config(min_words=4), features))[0] == ("too_few_words", 3.0, 4.0, False)


def test_bounds_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match="min_words .30. is above max_words .10."):
        length.Config(min_words=30, max_words=10)


@pytest.mark.parametrize("rule", [*PUBLISHED_RULES, length, language])
def test_every_option_of_a_rule_has_its_sentence(rule) -> None:
    assert rule.KIND == "threshold"
    assert rule.VERSION
    assert all(field.description for field in rule.Config.model_fields.values())
