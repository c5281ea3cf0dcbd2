"""The text parts of a mail: bytes, a declared charset and a format become the words the sender wrote."""

import re
from dataclasses import dataclass
from email.message import Message

from datasets_pipeline.extract import html
from datasets_pipeline.extract.decoding import decode
from datasets_pipeline.extract.mail_quotes import without_quotes
from datasets_pipeline.extract.options import ExtractOptions
from datasets_pipeline.sources.base import ExtractionError

VERSION = "1"

PLAIN_TYPES = frozenset({"text/plain", "text/enriched", "text/richtext"})
TEXT_TYPES = PLAIN_TYPES | {"text/html", "application/xhtml+xml"}
# Charsets whose bytes are not, or not only, those of ASCII; a mail may declare them, a file cannot.
_WIDE = re.compile(r"utf-?(?:7|16|32)(?:[-_]?[lb]e)?\Z|unicode-1-1-utf-7\Z|hz(?:-gb-2312)?\Z|ucs-2\Z", re.IGNORECASE)
_TOKEN = re.compile(r"[\s\"']*([A-Za-z0-9_:.+-]{1,40})")
_META_CHARSET = re.compile(rb"<meta\b[^<>]{0,300}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]{1,40})", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_QUOTING_ELEMENTS = (
    "blockquote[type=cite]", ".gmail_quote", ".gmail_attr", ".yahoo_quoted", ".moz-cite-prefix", ".protonmail_quote",
)  # fmt: skip
_SIGNATURE_ELEMENTS = (".gmail_signature", ".moz-signature", ".protonmail_signature_block")
_QUOTING_MARK = re.compile(r"type=[\"']?cite|gmail_(?:quote|attr)|yahoo_quoted|moz-cite-prefix|protonmail_quote")
_SIGNATURE_MARK = re.compile(r"gmail_signature|moz-signature|protonmail_signature")
_ARMOUR_BEGINS, _ARMOUR_SIGNATURE = "-----BEGIN PGP SIGNED MESSAGE-----", "-----BEGIN PGP SIGNATURE-----"
_ENCRYPTED_ARMOUR = re.compile(r"\s*-----BEGIN PGP MESSAGE-----")


@dataclass(frozen=True)
class Words:
    """What one part says; of a reply without the quotations, with `whole` as it came."""

    text: str
    whole: str
    num_quoted: int = 0
    num_signature: int = 0


def words_of(part: Message, uri: str, options: ExtractOptions, *, drop_quotes: bool) -> Words:
    """The text of a leaf part. Raises ExtractionError: encrypted, invalid_encoding, not_text."""
    data = payload_of(part)
    if not data.strip():
        return Words("", "")
    kind = part.get_content_type()
    is_page = kind not in PLAIN_TYPES
    text = _decoded(data, _charset_of(part, data if is_page else b""), uri, options)
    if is_page:
        return _page_words(text, uri, options, drop_quotes)
    if _ENCRYPTED_ARMOUR.match(text):
        raise ExtractionError("encrypted", f"{uri}: the mail is encrypted (PGP); decrypt it before, or exclude it")
    text = _without_armour(text.replace("\r\n", "\n").replace("\r", "\n"))
    if kind != "text/plain":
        text = _TAG.sub("", text)
    elif _parameter(part, "format") == "flowed":
        text = unflowed(text, delete_space=_parameter(part, "delsp") == "yes")
    if not drop_quotes:
        return Words(text, text)
    own, num_quoted, num_signature = without_quotes(text)
    return Words(own, text, num_quoted, num_signature)


def payload_of(part: Message) -> bytes:
    """The bytes of a leaf part, its transfer encoding undone; of a damaged one what could be read."""
    encoding = _TOKEN.match(str(part.get("content-transfer-encoding", "")))
    if encoding is not None:  # `Base64;` and the like are not understood otherwise
        del part["content-transfer-encoding"]
        part["content-transfer-encoding"] = encoding.group(1).lower()
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def unflowed(text: str, *, delete_space: bool) -> str:
    """Text of `format=flowed` with its paragraphs on one line each (RFC 3676); quote marks stay."""
    paragraphs: list[list[str]] = []
    depth_before, is_open = 0, False
    for line in text.split("\n"):
        depth = len(line) - len(line.lstrip(">"))
        line = line[depth:].removeprefix(" ")
        flows = line.endswith(" ") and line != "-- "
        if not (is_open and depth == depth_before and line != "-- "):
            paragraphs.append([">" * depth + " "] if depth else [])
        paragraphs[-1].append(line[:-1] if flows and delete_space else line)
        depth_before, is_open = depth, flows
    joined = ("".join(pieces) for pieces in paragraphs)
    return "\n".join(line if line == "-- " else line.rstrip(" ") for line in joined)


def _page_words(page: str, uri: str, options: ExtractOptions, drop_quotes: bool) -> Words:
    which = "content" if options.html == "main" else options.html

    def rendered(left_out: tuple[str, ...]) -> str:
        return html.text_of_page(page, uri, which, left_out)

    whole = rendered(())
    if not drop_quotes:
        return Words(whole, whole)
    own, num_quoted, num_signature = whole, 0, 0
    if _QUOTING_MARK.search(page) and (shorter := rendered(_QUOTING_ELEMENTS)).strip():
        own, num_quoted = shorter, max(_num_lines(whole) - _num_lines(shorter), 0)
    if _SIGNATURE_MARK.search(page) and (shorter := rendered((*_QUOTING_ELEMENTS, *_SIGNATURE_ELEMENTS))).strip():
        own, num_signature = shorter, max(_num_lines(own) - _num_lines(shorter), 0)
    own, more_quoted, more_signature = without_quotes(own)
    return Words(own, whole, num_quoted + more_quoted, num_signature + more_signature)


def _num_lines(text: str) -> int:
    return sum(bool(line.strip()) for line in text.split("\n"))


def _decoded(data: bytes, charset: str | None, uri: str, options: ExtractOptions) -> str:
    if charset and _WIDE.match(charset):
        name = "utf-7" if charset.lower().startswith("unicode") else charset
        try:
            return data.decode(name)
        except (UnicodeError, LookupError):
            pass
    return decode(data, uri, declared=charset or options.encoding, max_odd_share=options.max_odd_share).text


def _charset_of(part: Message, page: bytes) -> str | None:
    declared = _TOKEN.match(_parameter(part, "charset"))
    if declared is None and page:
        found = _META_CHARSET.search(page[:4096])
        return found.group(1).decode("ascii") if found else None
    return declared.group(1) if declared else None


def _parameter(part: Message, name: str) -> str:
    """A parameter of Content-Type, lower case; empty for none or one that cannot be read."""
    try:
        value = part.get_param(name, "")
    except Exception:  # the email package raises on parameters it does not expect
        return ""
    return str(value[2] if isinstance(value, tuple) else value).strip().lower()


def _without_armour(text: str) -> str:
    """A text signed in the open, without its signature (RFC 4880, 7)."""
    if not text.lstrip().startswith(_ARMOUR_BEGINS):
        return text
    body = text.partition("\n\n")[2].partition("\n" + _ARMOUR_SIGNATURE)[0]
    return "\n".join(line.removeprefix("- ") for line in body.split("\n"))
