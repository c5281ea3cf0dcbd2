"""Mailboxes: every mail a document with a place that stays, however many are appended."""

import random

import pytest

from datasets_pipeline.extract import ExtractOptions, extract
from datasets_pipeline.extract.media_types import media_type_of
from datasets_pipeline.sources.base import REASONS, ExtractionError, ExtractionResult
from tests.extract.mail_files import attached, mail, multipart, plain

OPTIONS = ExtractOptions(ocr_languages=None)
LINE = "From ada@example.org Tue Mar  5 10:00:00 2024\n"


def boxed(*mails: bytes) -> bytes:
    return b"".join(LINE.encode() + one.replace(b"\r\n", b"\n").rstrip(b"\n") + b"\n\n" for one in mails)


def numbered(number: int, body: str = "words") -> bytes:
    return mail(f"{number} {body}\n", subject=f"Mail {number}").replace(b"<1@", b"<%d@" % number)


def read(data: bytes) -> ExtractionResult:
    return extract(data, "a.mbox", None, OPTIONS)


def places(data: bytes) -> dict[str, tuple[str, int, int]]:
    return {d.text.split("\n")[0]: (str(d.uri), d.start, d.end) for d in read(data).documents}


def test_every_mail_is_a_document_with_its_byte_range() -> None:
    data = boxed(numbered(1), numbered(2), multipart("mixed", plain("See."), attached("a.txt", b"attached words")))
    result = read(data)
    assert [d.text for d in result.documents] == [
        "# Mail 1\n\n1 words", "# Mail 2\n\n2 words", "# Roof\n\nSee.", "attached words",
    ]  # fmt: skip
    assert result.rejects == []
    for document in result.documents:
        assert data[document.start : document.end].startswith(b"From ada@")
    assert result.documents[3].uri == f"{result.documents[2].uri}!/a.txt"
    assert len(str(result.documents[0].uri)) == len("a.mbox!/") + 16


def test_appending_a_mail_moves_none() -> None:
    mails = [numbered(n) for n in range(5)] + [b"Subject: No id\nFrom: a\n\nwords\n"]
    before = places(boxed(*mails))
    after = places(boxed(*mails, numbered(9)))
    assert before.items() <= after.items() and len(after) == 7


def test_two_mails_of_one_id_are_both_kept() -> None:
    first, second = read(boxed(numbered(1), numbered(1, "more"))).documents
    assert second.uri == f"{first.uri}-2" and second.text.endswith("1 more")


def test_lines_that_begin_with_from_are_words_and_lose_their_mark() -> None:
    body = "From here one sees far.\n\nFrom 10:00 on it rains.\n>From the roof.\n>>From afar.\n"
    data = boxed(mail(body), numbered(2))
    first, second = read(data).documents
    assert first.text == ("# Roof\n\nFrom here one sees far.\n\nFrom 10:00 on it rains.\nFrom the roof.\n>From afar.")
    assert second.text == "# Mail 2\n\n2 words"


def test_what_stands_before_the_first_mail_is_a_reject_and_no_mailbox_is_an_error() -> None:
    result = read(b"some words\n\n" + boxed(numbered(1)))
    assert [reject.reason for reject in result.rejects] == ["parser_error"] and len(result.documents) == 1
    with pytest.raises(ExtractionError) as raised:
        read(b"some words\n")
    assert raised.value.reason == "parser_error"


def test_a_mail_that_cannot_be_read_costs_itself() -> None:
    data = boxed(numbered(1), multipart("encrypted", "Content-Type: application/pgp-encrypted\n\nx"), numbered(3))
    result = read(data)
    assert len(result.documents) == 2 and [reject.reason for reject in result.rejects] == ["encrypted"]


@pytest.mark.parametrize(
    ("uri", "data", "media_type"),
    [
        ("cur/1709629200.M1P2.host:2,S", numbered(1), "message/rfc822"),
        ("new/1709629200.M1P2.host.pl", numbered(1), "message/rfc822"),
        ("Inbox", boxed(numbered(1)), "application/mbox"),
        ("new/1709629200.M1P2.host.md", b"# words", "text/markdown"),
        ("memo", b"Date: today\nSubject: roof\n\nwords", "text/plain"),
        ("notes", b"From: here on\nit is downhill", "text/plain"),
    ],
)
def test_mail_without_an_ending_is_told_by_its_fields(uri: str, data: bytes, media_type: str) -> None:
    assert media_type_of(uri, data) == media_type


def test_cut_and_flipped_mailboxes_are_text_or_an_error_of_the_file() -> None:
    data, chance = boxed(*(numbered(n) for n in range(6))), random.Random(3)
    for end in range(1, len(data), len(data) // 60):
        attempt(data[:end])
    for _ in range(100):
        damaged = bytearray(data)
        for _ in range(chance.choice((1, 3, 20))):
            damaged[chance.randrange(len(data))] = chance.randrange(256)
        attempt(bytes(damaged))


def attempt(data: bytes) -> None:
    try:
        read(data)
    except ExtractionError as error:
        assert error.reason in REASONS
