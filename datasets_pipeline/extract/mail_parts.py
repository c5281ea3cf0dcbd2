"""Which parts of a mail's MIME tree are its text, which are attachments, and which are nothing to read.

Of alternatives the plain text is taken, unless it is empty or a stub that sends the reader to the HTML. Pictures that
belong to an HTML page (logos, rules), signatures, delivery notes of machines and address cards are left out.
"""

import re
from dataclasses import dataclass, field
from email.message import Message

from datasets_pipeline.extract.mail_text import PLAIN_TYPES, TEXT_TYPES, Words, words_of
from datasets_pipeline.extract.options import ExtractOptions
from datasets_pipeline.sources.base import ExtractionError

VERSION = "1"

Part = Message

_LEFT_OUT = frozenset({
    "application/pgp-signature", "application/pgp-keys", "application/pkcs7-signature", "application/x-pkcs7-signature",
    "message/delivery-status", "message/disposition-notification", "message/feedback-report", "text/rfc822-headers",
    "text/vcard", "text/x-vcard", "text/directory", "application/applefile",
})  # fmt: skip
_MAX_DEPTH = 30
_SHORT_WORDS = 60
_STUB = re.compile(
    r"(?:html[ -]?(?:capable|enabled|compatible|format|version|e-?mail|mail|message)|(?:does|do) not support html"
    r"|view (?:this|the) (?:e-?mail|message|mail)|unterstützt kein html|html-fähig|im browser (?:an|öffnen)"
    r"|ne (?:supporte|prend) pas.{0,20}html|no (?:admite|soporta).{0,20}html)",
    re.IGNORECASE,
)


@dataclass
class Text:
    """A part that is read as text, once it is asked for."""

    part: Part = field(repr=False)
    words: Words = field(default_factory=lambda: Words("", ""), repr=False)
    fault: ExtractionError | None = None

    @property
    def is_plain(self) -> bool:
        return self.part.get_content_type() in PLAIN_TYPES


@dataclass
class Body:
    """What a branch of the tree holds."""

    texts: list[Text] = field(default_factory=list)
    attachments: list[Part] = field(default_factory=list)
    faults: list[ExtractionError] = field(default_factory=list)
    num_left_out: int = 0

    def num_words(self) -> int:
        return sum(len(text.words.whole.split()) for text in self.texts)


class Reader:
    """Sorts the parts of one mail."""

    def __init__(self, uri: str, options: ExtractOptions, *, drop_quotes: bool) -> None:
        self._uri, self._options, self._drop_quotes = uri, options, drop_quotes

    def read(self, part: Part, depth: int = 0) -> Body:
        """The texts and attachments below a part, in their order."""
        kind = part.get_content_type()
        if depth > _MAX_DEPTH:
            message = f"{self._uri}: its MIME parts are nested deeper than {_MAX_DEPTH}; exclude it, or save it anew"
            return Body(faults=[ExtractionError("nested_too_deeply", message)])
        if _is_encrypted(part, kind):
            message = f"{self._uri}: the mail is encrypted (S/MIME or PGP); decrypt it before, or exclude it"
            return Body(faults=[ExtractionError("encrypted", message)])
        if kind in _LEFT_OUT:
            return Body(num_left_out=1)
        if kind.startswith("multipart/") and part.is_multipart():
            return self._multipart(part, kind, depth)
        if (kind in TEXT_TYPES or kind.startswith("multipart/")) and not _is_attached(part):
            return self._text(part)
        return Body(attachments=[part])

    def _text(self, part: Part) -> Body:
        text = Text(part)
        try:
            text.words = words_of(part, self._uri, self._options, drop_quotes=self._drop_quotes)
        except ExtractionError as error:
            text.fault = error
        return Body([text])

    def _multipart(self, part: Part, kind: str, depth: int) -> Body:
        children = [child for child in part.get_payload() if isinstance(child, Message)]
        bodies = [self.read(child, depth + 1) for child in children if not _is_left_out(child, kind)]
        whole = Body(num_left_out=len(children) - len(bodies))
        for body in bodies:
            whole.attachments += body.attachments
            whole.faults += body.faults
            whole.num_left_out += body.num_left_out
        chosen = _best(bodies) if kind == "multipart/alternative" else bodies
        whole.texts = [text for body in chosen for text in body.texts]
        return whole


def _best(bodies: list[Body]) -> list[Body]:
    """Of alternatives the one to read."""
    readable = [body for body in bodies if body.num_words()]
    plain = next((body for body in readable if all(text.is_plain for text in body.texts)), None)
    rich = next((body for body in reversed(readable) if not all(text.is_plain for text in body.texts)), None)
    if plain is not None and rich is not None and _is_stub(plain, rich):
        return [rich]
    best = plain or rich or next((body for body in bodies if body.texts), None)
    return [best] if best else []


def _is_stub(plain: Body, rich: Body) -> bool:
    if plain.num_words() >= _SHORT_WORDS or rich.num_words() <= plain.num_words():
        return False
    whole = " ".join(text.words.whole for text in plain.texts)
    return 5 * plain.num_words() < rich.num_words() or _STUB.search(whole) is not None


def _is_left_out(part: Part, parent: str) -> bool:
    """Pictures that an HTML page shows, and invitations beside a text that says the same."""
    kind = part.get_content_type()
    if parent == "multipart/related":
        is_shown = part.get("content-id") is not None or part.get("content-location") is not None
        return kind.startswith("image/") and is_shown and part.get_content_disposition() != "attachment"
    return parent == "multipart/alternative" and kind in ("text/calendar", "text/x-amp-html")


def _is_attached(part: Part) -> bool:
    try:
        return part.get_content_disposition() == "attachment" or bool(part.get_filename())
    except Exception:  # the email package raises on parameters it does not expect
        return False


def _is_encrypted(part: Part, kind: str) -> bool:
    if kind == "multipart/encrypted":
        return True
    if kind not in ("application/pkcs7-mime", "application/x-pkcs7-mime"):
        return False
    # Signed and readable, but inside of a structure: that is another reason.
    return "signed-data" not in str(part.get("content-type", "")).lower()
