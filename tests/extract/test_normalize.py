"""The stored form of a text and its id."""

import random
import unicodedata

import pytest

from datasets_pipeline.normalize import _BLANKS, document_id, normalize_text

ALPHABET = "aZ é\u0301e\u0308 \t\n\r\x00\x0b\x85\u2028\u3000\ufeff\ud83d\ude00\udc00ß漢\u1100\u1161中ﬁÅÅ\u0323\u0307"


def test_line_ends_blanks_and_composition_have_one_stored_form():
    assert normalize_text("\ufeff  \r\nCafe\u0301\r\nline\rend \t\r\n") == "Café\nline\nend"


def test_what_is_inside_the_text_is_not_changed():
    text = "a\tb  c\n\n\nd\x0ce \ufeff f\u200b g"
    assert normalize_text(text) == text


def test_nul_and_a_lone_surrogate_become_the_replacement_character():
    assert normalize_text("a\x00b") == "a\ufffdb"
    assert normalize_text("a\ud800b") == "a\ufffdb"


def test_a_pair_of_surrogates_becomes_the_character_it_means():
    assert normalize_text("\ud83d\ude00!") == "😀!"


def test_normalizing_twice_changes_nothing_and_the_result_is_utf8():
    generator = random.Random(7)
    for _ in range(3000):
        text = "".join(generator.choices(ALPHABET, k=generator.randrange(12)))
        once = normalize_text(text)
        assert normalize_text(once) == once
        assert once.encode("utf-8").decode("utf-8") == once
        assert "\x00" not in once and "\r" not in once


def test_composed_and_decomposed_twins_have_one_id():
    generator = random.Random(11)
    letters = "äöüßéèñçǎệ각힣Ω漢 ab"
    for _ in range(500):
        text = "".join(generator.choices(letters, k=20))
        composed, decomposed = unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)
        assert document_id(normalize_text(composed)) == document_id(normalize_text(decomposed))


def test_the_id_is_blake2b_of_128_bits():
    # Published value of BLAKE2b with a 16-byte digest of the empty input.
    assert document_id("").hex() == "cae66941d9efbd404e4d88758ea67670"
    assert len(document_id("text")) == 16
    assert document_id("text") != document_id("text.")


def test_blanks_are_exactly_what_python_calls_white_space_and_the_byte_order_mark():
    assert set(_BLANKS) == {chr(code) for code in range(0x110000) if chr(code).isspace()} | {"\ufeff"}


@pytest.mark.parametrize("blank", ["", " ", "\n\t\u3000", "\ufeff\n\ufeff"])
def test_a_text_of_blanks_is_empty(blank):
    assert normalize_text(blank) == ""
