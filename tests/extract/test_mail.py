"""Mail: what the sender wrote, once; attachments with places of their own; hostile mail is an error of the file."""

import random

import pytest

from datasets_pipeline.extract import ExtractOptions, extract
from datasets_pipeline.extract.mail_quotes import is_forward
from datasets_pipeline.sources.base import REASONS, ExtractedDocument, ExtractionError
from tests.extract.archive_files import zipped
from tests.extract.mail_files import attached, inside, mail, multipart, page, plain
from tests.extract.office_files import docx, paragraph
from tests.extract.real_documents import unpack

OPTIONS = ExtractOptions(ocr_languages=None)
KEEP = ExtractOptions(ocr_languages=None, mail_quotes="keep")
LONG = "Slate lasts longer than tin, and it does not rust. " * 8


def read(data: bytes, options: ExtractOptions = OPTIONS) -> dict[str, str]:
    """Texts by what stands behind the mail's name, and reasons in place of texts."""
    result = extract(data, "a.eml", None, options)
    found = {str(d.uri or "").removeprefix("a.eml!/"): d.text for d in result.documents}
    return found | {str(r.uri or "").removeprefix("a.eml!/"): r.reason for r in result.rejects}


def one(data: bytes, options: ExtractOptions = OPTIONS) -> ExtractedDocument:
    (document,) = extract(data, "a.eml", None, options).documents
    return document


def body_of(data: bytes, options: ExtractOptions = OPTIONS) -> str:
    return one(data, options).text.removeprefix("# Roof\n\n")


def reason(data: bytes) -> str:
    with pytest.raises(ExtractionError) as raised:
        extract(data, "a.eml", None, OPTIONS)
    assert raised.value.reason in REASONS and "a.eml" in raised.value.message
    return raised.value.reason


def test_a_mail_is_its_subject_and_what_the_sender_wrote() -> None:
    document = one(mail("Slate lasts.\n", "Content-Language: de-AT"))
    assert document.text == "# Roof\n\nSlate lasts."
    assert (document.stated_date, document.language, document.metadata) == ("2024-03-05", "de", {"title": "Roof"})
    assert "Ada" not in repr(document)


def test_names_and_addresses_stand_in_the_text_only_when_asked_for() -> None:
    text = one(mail("Slate lasts."), ExtractOptions(mail_headers="all")).text
    assert text == (
        "# Roof\n\nFrom: Ada Muster <ada@example.org>\nTo: b@example.org\n"
        "Date: Tue, 5 Mar 2024 23:30:00 +0100\n\nSlate lasts."
    )


@pytest.mark.parametrize(
    ("field", "title"),
    [
        ("=?utf-8?q?D=C3=A4cher?=", "Dächer"),
        ("=?iso-8859-1?Q?D=E4cher_aus?= =?iso-8859-1?Q?_Schiefer?=", "Dächer aus Schiefer"),
        ("=?utf-8?B?RMM=?=\r\n =?utf-8?B?pGNoZXI=?=", "Dächer"),  # a character split between two words
        ("Re: =?ISO-2022-JP?B?GyRCJF4kXyRgGyhC?= x", "Re: まみむ x"),
        ("Dächer", "Dächer"),
        ("=?NONE?B?VEVTVA=?=", "TEST"),
        ("=?utf-8?q?broken", "=?utf-8?q?broken"),
    ],
)
def test_encoded_subjects_are_read(field: str, title: str) -> None:
    assert one(mail("words", subject=field)).metadata["title"] == title


@pytest.mark.parametrize(
    ("written", "day"),
    [
        ("Tue, 5 Mar 2024 23:30:00 +0100", "2024-03-05"), ("5 Mar 24 10:00", "2024-03-05"),
        ("2024-03-05T10:00:00Z", "2024-03-05"), ("Tue, 35 Mar 2024 10:00:00", None), ("yesterday", None),
        ("Mon, 30 Jun 3609 15:33:50 +0600", None), ("", None),
    ],
)  # fmt: skip
def test_the_date_is_the_one_the_mail_states(written: str, day: str | None) -> None:
    data = mail("words").replace(b"Tue, 5 Mar 2024 23:30:00 +0100", written.encode())
    assert one(data).stated_date == day


def test_of_alternatives_the_plain_text_is_read_unless_it_is_a_stub() -> None:
    assert body_of(multipart("alternative", plain("plain words"), page("<p>rich words"))) == "plain words"
    assert body_of(multipart("alternative", plain(" \n"), page("<h2>Rich</h2><p>words"))) == "## Rich\n\nwords"
    stub = "Please use an HTML-capable reader."
    assert body_of(multipart("alternative", plain(stub), page(f"<p>{LONG}</p>"))) == LONG.strip()
    related = multipart("related", page('<p>rich<img src="cid:a">'), "Content-Type: image/png\nContent-ID: <a>\n\nx")
    whole = one(multipart("alternative", plain(""), inside(related)))
    assert whole.text == "# Roof\n\nrich" and whole.metadata["parts_left_out"] == 1


def test_charsets_go_down_the_ladder() -> None:
    def charset(name: str, text: str, encoding: str) -> str:
        head = f"Content-Type: text/plain; charset={name}\r\nContent-Transfer-Encoding: 8bit"
        return body_of(mail("", head) + text.encode(encoding))

    assert charset("utf-8", "Dächer", "latin-1") == "Dächer"
    assert charset("iso-8859-1", "Dächer", "utf-8") == "Dächer"
    assert charset("koi8-r", "Сланец прочнее", "koi8-r") == "Сланец прочнее"
    assert charset("iso-2022-jp", "まみむ", "iso-2022-jp") == "まみむ"
    assert charset("utf-7", "Dächer", "utf-7") == "Dächer"
    assert charset('"no such charset"', "Dächer", "utf-8") == "Dächer"
    wide = mail("Dächer").decode().encode("utf-16-le")
    assert body_of(wide) == body_of(b"\xff\xfe" + wide) == "Dächer"


def test_transfer_encodings_are_undone_also_where_they_are_misspelled() -> None:
    assert body_of(mail("D=C3=A4cher =\nsind", "Content-Transfer-Encoding: Quoted-Printable;")) == "Dächer sind"
    assert body_of(mail("RMOkY2hlcg==", 'Content-Transfer-Encoding: "base64"')) == "Dächer"
    assert body_of(mail("words", "Content-Transfer-Encoding: 7-bit")) == "words"


REPLY = "I agree.\n\nSlate it is.\n"
INTRODUCTIONS = [
    "On Tue, 5 Mar 2024 at 10:00, Bob <b@x.org> wrote:", "On Tue, 5 Mar 2024 at 10:00, Bob Example\n<b@x.org> wrote:",
    "Am 05.03.24 um 10:00 schrieb Bob:", "Bob schrieb am 05.03.2024:", "Le 5 mars 2024 à 10:00, Bob a écrit :",
    "El 5/3/2024 a las 10:00, Bob escribió:", "Bob wrote:",
]  # fmt: skip


@pytest.mark.parametrize("introduction", INTRODUCTIONS)
def test_quoted_lines_go_with_the_line_that_introduces_them(introduction: str) -> None:
    text = f"{REPLY}\n{introduction}\n\n> Tin or slate?\n>\n> > And when?\n"
    assert body_of(mail(text)) == REPLY.strip()
    assert one(mail(text)).metadata["quoted_lines_removed"] == 3 + len(introduction.split("\n"))
    assert body_of(mail(text), KEEP) == text.strip()


@pytest.mark.parametrize(
    "separator",
    [
        "-----Original Message-----\nFrom: Bob", "-----Ursprüngliche Nachricht-----\nVon: Bob",
        "----- Message d'origine -----\nDe : Bob", "-----Mensaje original-----\nDe: Bob",
        "________________________________\nFrom: Bob\nSent: Monday\nTo: Ada\nSubject: Roof",
        "Von: Bob <b@x.org>\nGesendet: Montag\nAn: Ada\nBetreff: Dach",
        "*De :* Bob\n*Envoyé :* lundi\n*À :* Ada\n*Objet :* Toit", "De: Bob\nEnviado: lunes\nPara: Ada\nAsunto: Techo",
        INTRODUCTIONS[0], INTRODUCTIONS[1], INTRODUCTIONS[2], INTRODUCTIONS[4], INTRODUCTIONS[5],
    ],
)  # fmt: skip
def test_what_stands_below_a_separator_is_an_older_mail(separator: str) -> None:
    text = f"{REPLY}\n{separator}\n\nTin or slate?\n\nBob\n"
    assert body_of(mail(text)) == REPLY.strip()
    assert body_of(mail(text), KEEP) == text.strip()


@pytest.mark.parametrize(
    "text",
    [
        "As Smith wrote:\n\nSlate.", "On page 3 the author wrote:\nSlate lasts.", "From: the roof\nTo: the cellar.",
        "Try this:\n\n>>> import roof\n>>> roof.tile", ">From the roof one sees far.\n\nSlate lasts.", "a -> b\nx > y",
        "> all of it\n> is quoted", "1\n--\n" + "2\n" * 20,
    ],
)  # fmt: skip
def test_what_only_looks_like_a_quotation_is_kept(text: str) -> None:
    assert body_of(mail(text)) == text.strip()


def test_answers_between_quotations_are_kept() -> None:
    text = "Bob wrote:\n> Tin?\nNo.\n\n> Slate?\nYes.\n"
    assert body_of(mail(text)) == "No.\n\nYes."


def test_a_forwarded_mail_is_left_whole() -> None:
    text = "See below.\n-- \nAda\n\n---------- Forwarded message ---------\nFrom: Bob\n\n> Tin?\nSlate.\n"
    assert body_of(mail(text)) == text.strip()
    assert is_forward("Fwd: x") and is_forward("WG: x") and is_forward("[list] FW: x") and not is_forward("Re: FW")


def test_a_signature_is_removed_to_the_end() -> None:
    document = one(mail("Slate lasts.\n\n-- \nAda Muster\nRoofs & Co\n"))
    assert document.text == "# Roof\n\nSlate lasts." and document.metadata["signature_lines_removed"] == 3
    assert body_of(mail("Slate.\n--\nAda\n")) == "Slate."


def test_quotations_in_html_are_removed_and_counted() -> None:
    quoted = '<p>I agree.</p><div class="gmail_quote"><div class="gmail_attr">On Tue Bob wrote:</div><blockquote>'
    data = multipart("alternative", page(quoted + "<p>Tin?</p><p>Or slate?</p></blockquote></div>"))
    assert body_of(data) == "I agree." and one(data).metadata["quoted_lines_removed"] == 3
    assert "Tin?" in body_of(data, KEEP)
    assert body_of(multipart("mixed", page('<blockquote type="cite">Tin?</blockquote>'))) == "Tin?"


def test_flowed_text_has_its_paragraphs_on_one_line() -> None:
    text = "Slate lasts \nlonger \nthan tin.\n From here on.\n\n-- \nAda\n"
    flowed = "Content-Type: text/plain; format=flowed"
    assert body_of(mail(text, flowed)) == "Slate lasts longer than tin.\nFrom here on."
    assert body_of(mail("長い \n文", f"{flowed}; delsp=yes")) == "長い文"
    assert body_of(mail("> a \n> b\nc", flowed), KEEP) == "> a b\nc"


def test_attachments_are_documents_with_places_of_their_own() -> None:
    data = multipart(
        "mixed", plain("See the report."), attached("report.docx", docx(paragraph("Slate lasts."))),
        attached("all.zip", zipped({"a/one.txt": b"words"})), attached("report.docx", docx(paragraph("Second."))),
        attached("../../etc/x.txt", b"not elsewhere"), attached("run.exe", b"\x7fELF\x02"),
        plain("inline", '\nContent-Disposition: inline; filename="note.txt"'),
    )  # fmt: skip
    assert read(data) == {
        "": "# Roof\n\nSee the report.", "report.docx": "Slate lasts.", "all.zip!/a/one.txt": "words",
        "report-2.docx": "Second.", "x.txt": "not elsewhere", "run.exe": "unsupported_media_type", "note.txt": "inline",
    }  # fmt: skip
    for document in extract(data, "a.eml", None, OPTIONS).documents:
        assert (document.start, document.end, document.stated_date) == (0, len(data), "2024-03-05")


def test_a_mail_in_a_mail_is_a_child_with_its_own_date() -> None:
    inner = mail("Inner words.\n", subject="Inner").replace(b"5 Mar 2024", b"4 Mar 2023")
    data = multipart("mixed", plain("Outer."), b"Content-Type: message/rfc822\r\n\r\n" + inner)
    outer, child = extract(data, "a.eml", None, OPTIONS).documents
    assert outer.text == "# Roof\n\nOuter."
    assert (child.uri, child.text, child.stated_date) == (
        "a.eml!/message-1.eml", "# Inner\n\nInner words.", "2023-03-04",
    )  # fmt: skip
    for _ in range(3):
        data = mail("", "Content-Type: message/rfc822") + data
    assert "nested_too_deeply" in read(data).values()


def test_signed_mail_is_read_without_its_signature_and_encrypted_mail_is_named() -> None:
    signature = "Content-Type: application/pgp-signature; name=s.asc\n\n-----BEGIN PGP SIGNATURE-----"
    assert read(multipart("signed", plain("Slate lasts."), signature)) == {"": "# Roof\n\nSlate lasts."}
    clear = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA1\n\nSlate.\n- -- x\n-----BEGIN PGP SIGNATURE-----\nabc\n"
    assert body_of(mail(clear)) == "Slate.\n-- x"
    assert reason(multipart("encrypted", "Content-Type: application/pgp-encrypted\n\nVersion: 1")) == "encrypted"
    assert reason(mail("-----BEGIN PGP MESSAGE-----\nabc")) == "encrypted"
    smime = "Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m"
    assert reason(mail("MIAGCSqG", smime)) == "encrypted"
    outlook = attached("winmail.dat", b"\x78\x9f\x3e\x22", "application/ms-tnef")
    assert read(multipart("mixed", plain("See."), outlook))["winmail.dat"] == "unsupported_media_type"


def test_what_machines_and_cards_say_is_left_out() -> None:
    report = multipart(
        "report", plain("It could not be delivered."), "Content-Type: message/delivery-status\n\nAction: failed",
        "Content-Type: text/vcard\n\nBEGIN:VCARD", parameters="; report-type=delivery-status",
    )  # fmt: skip
    assert one(report).text == "# Roof\n\nIt could not be delivered." and one(report).metadata["parts_left_out"] == 2


def test_a_file_without_fields_is_no_mail_and_a_blank_one_is_empty() -> None:
    assert reason(b"just some words in a row\n") == "parser_error"
    assert reason(b"  \n\n \n") == "empty"
    assert reason(b"From: a\n\n \n") == "empty"
    assert body_of(b"Subject : Roof\nFrom  : a\n\nSlate.") == "Slate."


def test_a_part_that_is_no_text_costs_itself() -> None:
    broken = b"Content-Type: text/plain\r\n\r\n" + bytes(range(32)) * 9
    assert read(multipart("mixed", plain("Good."), broken, attached("a.txt", b"words"))) == {
        "": "# Roof\n\nGood.", "a.eml": "not_text", "a.txt": "words",
    }  # fmt: skip
    assert reason(multipart("mixed", broken)) == "not_text"


def hostile() -> dict[str, bytes]:
    head = b"From: a@b\nSubject: s\n"
    nested = b"".join(b'Content-Type: multipart/mixed; boundary="%d"\n\n--%d\n' % (n, n) for n in range(2000))
    return {
        "nested": head + nested + b"\nwords",
        "in mails": head + b"Content-Type: message/rfc822\n\n" * 2000 + b"\nwords",
        "parts": head + b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nwords\n" * 3000,
        "brackets": head + b"Content-Type: " + b"(" * 500_000 + b"\n\nwords",
        "parameters": head + b"Content-Type: text/plain; " + b"a=1;" * 100_000 + b"\n\nwords",
        "words": b"Subject: " + b"=?utf-8?b?YQ==?= " * 30_000 + b"\nFrom: a\n\nwords",
        "from": head + b"\n" + b"From: x\n" * 50_000, "on": head + b"\n" + b"On wrote\n" * 50_000,
        "line": head + b"\nOn " + b"wrote 2020 " * 100_000 + b":",
        "flowed": head + b"Content-Type: text/plain; format=flowed\n\n" + b"word \n" * 100_000,
        "html": head + b"Content-Type: text/html\n\n" + b"<blockquote type=cite>" * 20_000 + b"x",
        "lines": head + nested[:4000] + b"a\n" * 1_000_000,
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(hostile()))
def test_hostile_mail_ends_soon(name: str) -> None:
    try:
        result = extract(hostile()[name], "a.eml", None, OPTIONS)
    except ExtractionError as error:
        assert error.reason in ("parser_error", "nested_too_deeply", "parser_returned_nothing")
    else:
        assert result.documents or result.rejects


def test_cut_and_flipped_mails_are_text_or_an_error_of_the_file() -> None:
    data = multipart(
        "mixed", inside(multipart("alternative", plain("plain words"), page("<p>rich"))),
        attached("a.docx", docx(paragraph("x"))), b"Content-Type: message/rfc822\r\n\r\n" + mail("Inner."),
    )  # fmt: skip
    chance = random.Random(5)
    for end in range(1, len(data), len(data) // 60):
        attempt(data[:end])
    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(chance.choice((1, 3, 20))):
            damaged[chance.randrange(1500)] = chance.randrange(256)
        attempt(bytes(damaged))


def attempt(data: bytes) -> None:
    try:
        extract(data, "a.eml", None, OPTIONS)
    except ExtractionError as error:
        assert error.reason in REASONS


def test_real_mails_are_read(tmp_path) -> None:
    read_mails = refused = 0
    for source in ("mail-fixtures", "unstructured-examples"):
        for path in sorted(unpack(source, tmp_path, suffixes=(".eml",), limit=200).rglob("*.eml")):
            try:
                result = extract(path.read_bytes(), path.name, None, OPTIONS)
            except ExtractionError as error:
                assert (path.name, error.reason) in {("empty.eml", "empty"), ("fake-encrypted.eml", "encrypted")}
                refused += 1
                continue
            read_mails += 1
            texts = [document.text for document in result.documents if document.extractor == "mail"]
            assert all("\r" not in text and "\nContent-Type:" not in text for text in texts), path.name
    assert (read_mails, refused) == (96, 2)
