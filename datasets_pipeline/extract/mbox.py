"""Mailboxes in one file (mbox, RFC 4155): every mail a document at `archive.mbox!/<hash>`.

The hash is of the mail's Message-ID, else of its bytes, so appending mails moves none. A mail begins with a line
`From sender date` behind a blank line or before a header; lines that begin with From were written as `>From`
(mboxrd, mboxo), and one `>` is taken off again.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator

from datasets_pipeline.extract.children import extract_child
from datasets_pipeline.extract.media_types import MAIL, MBOX
from datasets_pipeline.extract.options import ExtractOptions
from datasets_pipeline.sources.base import ExtractionError, ExtractionResult, Reject

VERSION = "1"
MEDIA_TYPES = (MBOX,)

# With a time of day and a year: what a sentence that begins with From hardly has.
_FROM_LINE = re.compile(rb"^From [^\n]*\d:\d\d[^\n]*\n", re.MULTILINE)
_YEAR = re.compile(rb"\b(?:19|20)\d\d\b")
_HEADER = re.compile(rb">?[!-9;-~]{1,100}:")
_QUOTED_FROM = re.compile(rb"^>(>*From )", re.MULTILINE)
_MESSAGE_ID = re.compile(rb"^message-id[ \t]*:\s*(\S[^\r\n]*)", re.MULTILINE | re.IGNORECASE)
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_HASH_CHARACTERS = 16
"""64 bits: two mails of one mailbox that meet by chance are not seen."""


def extract(data: bytes, uri: str, media_type: str, options: ExtractOptions) -> ExtractionResult:
    """The mails with their attachments, in order. Raises ExtractionError parser_error when no mail begins in it."""
    result = ExtractionResult([], [])
    seen: Counter[str] = Counter()
    position = 0
    for start, head, end in _mails(data):
        if start > position and data[position:start].strip():
            result.rejects.append(_lost(position, start, uri))
        position = end
        mail = _QUOTED_FROM.sub(rb"\1", data[head:end])
        name = _name(mail)
        seen[name] += 1
        if seen[name] > 1:  # the same mail again, or another that claims its id
            name = f"{name}-{seen[name]}"
        child = extract_child(mail, uri, name, MAIL, options, start, end)
        result.documents.extend(child.documents)
        result.rejects.extend(child.rejects)
    if position == 0:
        raise ExtractionError("parser_error", f"{uri}: no line begins a mail (`From sender date`); look at the file")
    return result


def _mails(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(start, start of the header, end) of each mail."""
    starts = [(found.start(), found.end()) for found in _FROM_LINE.finditer(data) if _begins_a_mail(data, found)]
    for (start, head), (end, _) in zip(starts, [*starts[1:], (len(data), 0)], strict=True):
        yield start, head, end


def _begins_a_mail(data: bytes, line: re.Match[bytes]) -> bool:
    if not _YEAR.search(line.group()):
        return False
    is_first = line.start() < 100 and not data[: line.start()].strip(b"\xef\xbb\xbf\r\n\t ")
    before = data[max(line.start() - 3, 0) : line.start()]
    return is_first or before.endswith((b"\n\n", b"\n\r\n")) or _HEADER.match(data, line.end()) is not None


def _name(mail: bytes) -> str:
    end = _HEADER_END.search(mail)
    found = _MESSAGE_ID.search(mail, 0, end.start() if end else len(mail))
    identity = found.group(1).strip() if found else mail.strip()
    return hashlib.sha256(identity).hexdigest()[:_HASH_CHARACTERS]


def _lost(start: int, end: int, uri: str) -> Reject:
    return Reject(start, end, "parser_error", uri, f"{uri}: what stands before the first mail is none")
