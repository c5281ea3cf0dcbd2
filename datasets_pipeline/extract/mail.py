"""Mail (RFC 5322 and MIME): the subject as a heading, then what the sender wrote; attachments are their own documents.

Names and addresses stay out unless `mail_headers: all` asks for them; quotations and signatures are dropped unless
`mail_quotes: keep`. The date is the one the mail states. An attached mail, archive or office file is read like any
other, at `mail.eml!/name`.
"""

import platform
import posixpath
import re
from dataclasses import replace
from email import policy
from email.message import Message
from email.parser import BytesParser
from typing import Any

from datasets_pipeline.extract import media_types
from datasets_pipeline.extract.children import child_uri, extract_child
from datasets_pipeline.extract.mail_headers import decoded, field_of, stated_day
from datasets_pipeline.extract.mail_parts import Body, Reader
from datasets_pipeline.extract.mail_quotes import is_forward
from datasets_pipeline.extract.mail_text import payload_of
from datasets_pipeline.extract.markdown_writing import heading
from datasets_pipeline.extract.media_types import MAIL
from datasets_pipeline.extract.options import ExtractOptions
from datasets_pipeline.extract.stated import iso_language
from datasets_pipeline.sources.base import ExtractedDocument, ExtractionError, ExtractionResult, Reject

VERSION = "1"
MEDIA_TYPES = (MAIL, "message/global", "message/news")

_MAILS = frozenset(MEDIA_TYPES)
_PEOPLE = ("From", "To", "Cc", "Date")
_UNREADABLE = {
    "application/ms-tnef": "it is a winmail.dat (TNEF) of Outlook; send the mail as HTML, or unpack it before",
    "application/vnd.ms-tnef": "it is a winmail.dat (TNEF) of Outlook; send the mail as HTML, or unpack it before",
    "message/partial": "it is a piece of a mail that was sent in several; join them before",
    "application/pkcs7-mime": "it is signed inside of an S/MIME structure; save it unsigned",
    "application/x-pkcs7-mime": "it is signed inside of an S/MIME structure; save it unsigned",
}
_EXTENSIONS = {"text/html": ".html", "text/plain": ".txt", "text/csv": ".csv", "text/markdown": ".md"}
_MAX_NAME_CHARACTERS = 200
_MAX_ATTACHMENTS = 1000
_MAX_HEADER_BYTES = 1 << 20
_MAX_FIELD_CHARACTERS = 16_384
_MAX_LINES_TIMES_PARTS = 20_000_000
"""The email package looks for every open boundary in every line; so many looks are about three seconds."""
_OLD_FIELD = re.compile(rb"^([!-9;-~]{1,100})[ \t]{1,100}:", re.MULTILINE)  # `From : a`, RFC 5322, 4.5
_BLANK_LINES = re.compile(r"\n[ \t\xa0]*(?:\n[ \t\xa0]*){2,}")


class _BoundedMessage(Message):
    """A message whose fields are looked at up to a bound: the email package takes quadratic time over parameters."""

    def get(self, name: str, failobj: Any = None) -> Any:
        value = super().get(name, failobj)
        return value[:_MAX_FIELD_CHARACTERS] if isinstance(value, str) else value


def programs() -> dict[str, str]:
    """The interpreter, whose email package splits mails into parts."""
    return {"python": ".".join(platform.python_version_tuple()[:2])}


def extract(data: bytes, uri: str, media_type: str, options: ExtractOptions) -> ExtractionResult:
    """The mail and its attachments. Raises ExtractionError encrypted, parser_error, or what its only text met."""
    message = _parsed(data, uri)
    subject = field_of(message, "Subject")
    drop_quotes = options.mail_quotes == "drop" and not is_forward(subject)
    body = Reader(uri, options, drop_quotes=drop_quotes).read(message)
    day = stated_day(message)
    documents, rejects = [], []
    for fault in body.faults + [text.fault for text in body.texts if text.fault is not None]:
        rejects.append(Reject(0, len(data), fault.reason, uri, fault.message))
    text = _text_of(message, subject, body, options)
    if text and not (rejects and not any(part.words.text.strip() for part in body.texts)):
        documents.append(
            ExtractedDocument(
                text=text,
                start=0,
                end=len(data),
                media_type=media_type,
                extractor="mail",
                extractor_version=VERSION,
                stated_date=day,
                language=iso_language(field_of(message, "Content-Language").partition(",")[0]),
                metadata=_metadata(subject, body),
            )
        )
    for child in _attachments(body, uri, options, len(data)):
        documents += [replace(document, stated_date=document.stated_date or day) for document in child.documents]
        rejects += child.rejects
    if not documents and rejects and all(reject.uri == uri for reject in rejects):
        raise ExtractionError(rejects[0].reason, rejects[0].detail)
    if not documents and not rejects:
        raise ExtractionError("empty", f"{uri}: the mail has neither a subject nor a text")
    return ExtractionResult(documents, rejects)


def _parsed(data: bytes, uri: str) -> Message:
    wide = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else media_types.utf16_without_mark(data)
    if wide:  # saved by an editor as what it calls Unicode
        data = data.decode(wide, "replace").encode("utf-8", "replace")
    data = data.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n\t ")
    if data.lower().count(b"boundary") * data.count(b"\n") > _MAX_LINES_TIMES_PARTS:
        raise ExtractionError("nested_too_deeply", f"{uri}: too many MIME parts for its length; exclude it")
    end = _end_of_header(data)
    data = _OLD_FIELD.sub(rb"\1:", data[:end]) + data[end:]
    # compat32 keeps fields as they came: the newer policies parse them, and raise where real mail breaks the rules.
    message: Message = BytesParser(_BoundedMessage, policy=policy.compat32).parsebytes(data)
    if not data:
        raise ExtractionError("empty", f"{uri}: nothing but blanks is in it")
    if not message.keys():
        raise ExtractionError("parser_error", f"{uri}: no field of a mail is at its beginning; look at the file")
    return message


def _end_of_header(data: bytes) -> int:
    blank = re.search(rb"\n\r?\n", data[:_MAX_HEADER_BYTES])
    return blank.start() + 1 if blank else 0


def _text_of(message: Message, subject: str, body: Body, options: ExtractOptions) -> str:
    """The document; a mail that says nothing but quotations keeps them."""
    blocks = [_BLANK_LINES.sub("\n\n", text.words.text).strip("\n") for text in body.texts if text.words.text.strip()]
    fields = []
    if options.mail_headers == "all":
        fields = [f"{name}: {value}" for name in _PEOPLE if (value := field_of(message, name))]
    head = [heading(subject, 1)] if subject else []
    return "\n\n".join([*head, *(["\n".join(fields)] if fields else []), *blocks])


def _metadata(subject: str, body: Body) -> dict[str, str | int | float]:
    counts = {
        "quoted_lines_removed": sum(text.words.num_quoted for text in body.texts),
        "signature_lines_removed": sum(text.words.num_signature for text in body.texts),
        "attachments": len(body.attachments),
        "parts_left_out": body.num_left_out,
    }
    found: dict[str, str | int | float] = {name: count for name, count in counts.items() if count}
    return found | ({"title": subject} if subject else {})


def _attachments(body: Body, uri: str, options: ExtractOptions, size: int) -> list[ExtractionResult]:
    results, taken = [], set[str]()
    for number, part in enumerate(body.attachments, start=1):
        if number > _MAX_ATTACHMENTS:
            detail = f"{uri}: more than {_MAX_ATTACHMENTS:,} attachments; the others are not read"
            results.append(ExtractionResult([], [Reject(0, size, "too_large", uri, detail)]))
            break
        name = _free_name(_name_of(part, number), taken)
        results.append(_attachment(part, uri, name, options, size))
    return results


def _attachment(part: Message, uri: str, name: str, options: ExtractOptions, size: int) -> ExtractionResult:
    kind = part.get_content_type()
    place = child_uri(uri, name)
    if name.lower() == "winmail.dat":
        kind = "application/ms-tnef"
    if kind in _UNREADABLE:
        detail = f"{place}: {_UNREADABLE[kind]}"
        return ExtractionResult([], [Reject(0, size, "unsupported_media_type", place, detail)])
    if kind == "message/external-body":
        detail = f"{place}: the mail names a file kept elsewhere; fetch it, and read it on its own"
        return ExtractionResult([], [Reject(0, size, "content_elsewhere", place, detail)])
    if kind in _MAILS:
        return extract_child(_mail_inside(part), uri, name, MAIL, options, 0, size)
    return extract_child(payload_of(part), uri, name, None, options, 0, size)


def _mail_inside(part: Message) -> bytes:
    """The bytes of an attached mail, as they came."""
    inner = part.get_payload(0) if part.is_multipart() else None
    if not isinstance(inner, Message):
        return payload_of(part)
    encoding = str(part.get("content-transfer-encoding", "")).strip().lower()
    if encoding in ("base64", "quoted-printable") and not inner.keys():  # forbidden, and met all the same
        inner["content-transfer-encoding"] = encoding
        return payload_of(inner)
    return inner.as_bytes(policy=policy.compat32)


def _name_of(part: Message, number: int) -> str:
    """What the attachment is called, as one name without a folder; `part-3` and a fitting ending for one without."""
    kind = part.get_content_type()
    try:
        stated = decoded(str(part.get_filename() or ""))
    except Exception:  # the email package raises on parameters it does not expect
        stated = ""
    name = posixpath.basename(stated.replace("\\", "/").replace("\x00", "").rstrip("/")).strip()
    stem, extension = posixpath.splitext(name)
    name = stem[:_MAX_NAME_CHARACTERS] + extension[:20]
    if kind in _MAILS:
        return name if name.strip(".") else f"message-{number}.eml"
    if not name.strip("."):
        return f"part-{number}{_EXTENSIONS.get(kind, '')}"
    return name if media_types.stated_media_type(name) else name + _EXTENSIONS.get(kind, "")


def _free_name(name: str, taken: set[str]) -> str:
    stem, extension = posixpath.splitext(name)
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{stem}-{number}{extension}"
    taken.add(free)
    return free
