"""Bytes to characters: the ladder, rung by rung."""

import pytest

from datasets_pipeline.extract.decoding import decode
from datasets_pipeline.sources.base import ExtractionError

GERMAN = "Größe und Länge der Straße müssen überprüft werden. " * 5


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1"]
)
def test_western_text_is_read_in_every_usual_encoding(encoding):
    assert decode(GERMAN.encode(encoding), "a.txt").text == GERMAN


def test_utf16_with_the_other_byte_order_mark_is_read():
    assert decode(b"\xfe\xff" + GERMAN.encode("utf-16-be"), "a.txt").text == GERMAN


def test_a_broken_byte_in_utf8_is_replaced_and_counted_instead_of_spoiling_the_umlauts():
    data = GERMAN.encode() + b"\xff" + GERMAN.encode()
    decoded = decode(data, "a.txt")
    assert decoded.text == GERMAN + "\ufffd" + GERMAN
    assert decoded.metadata == {"encoding": "utf-8", "replaced_characters": 1}


def test_plain_utf8_needs_no_word_in_the_metadata():
    assert decode(GERMAN.encode(), "a.txt").metadata == {}


def test_cyrillic_in_an_undeclared_encoding_is_refused_and_read_when_declared():
    text = "Каждый охотник желает знать, где сидит фазан. " * 3
    with pytest.raises(ExtractionError) as refused:
        decode(text.encode("koi8-r"), "ru.txt")
    assert refused.value.reason == "invalid_encoding" and "encoding:" in str(refused.value)
    assert decode(text.encode("koi8-r"), "ru.txt", declared="koi8-r").text == text


def test_a_seven_bit_japanese_encoding_is_believed_when_declared():
    text = "日本語の文章です。"
    assert decode(text.encode("iso-2022-jp"), "ja.html", declared="ISO-2022-JP").text == text


def test_an_unknown_declared_encoding_is_ignored():
    assert decode(GERMAN.encode("cp1252"), "a.txt", declared="x-mac-nonsense").encoding == "cp1252"
    assert decode(GERMAN.encode("cp1252"), "a.txt", declared="base64").encoding == "cp1252"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (bytes(range(256)) * 20, "not_text"),
        (b"\x00" * 500, "not_text"),
        (b"ok " + bytes([0x81]) * 40, "invalid_encoding"),
        (b"\xff\xfe" + b"\x00\xd8" * 50, "invalid_encoding"),  # UTF-16 made of lone surrogates
    ],
)
def test_bytes_that_are_no_text_are_refused_with_a_reason(data, reason):
    with pytest.raises(ExtractionError) as refused:
        decode(data, "broken.txt")
    assert refused.value.reason == reason


def test_one_nul_in_a_text_does_not_lose_the_text():
    assert (
        decode(b"a long enough line of text\x00 goes on and on, for sure, to its end", "a.txt").text.count("\x00") == 1
    )
