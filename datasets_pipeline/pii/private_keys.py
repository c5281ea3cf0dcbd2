"""Private keys in PEM and OpenPGP armour, from the BEGIN line to the END line (RFC 7468, RFC 9580).

Real ones only: at least 64 characters of base64 between the lines, line breaks perhaps written as `\\n`. A block that
is cut short with dots, as manuals print it, holds no key.
"""

import re
from collections.abc import Iterator, Sequence

from datasets_pipeline.pii.found import Found

KIND = "private_key"

MAX_BLOCK_BYTES = 32_768
MIN_BASE64_BYTES = 64
_BEGIN = re.compile(rb"-----BEGIN (?:[A-Z0-9]{1,16} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_END = re.compile(rb"-----END [A-Z0-9 ]{0,50}PRIVATE KEY(?: BLOCK)?-----")
_HEADER = re.compile(rb"[A-Za-z][A-Za-z-]{1,30}: [^\r\n\\]{0,200}")
# In YAML a block is indented, in JSON and shell its line breaks are \n, in code its lines are quoted strings.
_FILLING = re.compile(rb"(?:\\[nrt]|[\s\"'+,>|`\\])+")
_BASE64 = re.compile(rb"[A-Za-z0-9+/=]+")


def find(data: bytes, places: Sequence[tuple[int, int]], reserved: bool) -> Iterator[Found]:
    """The blocks that start at some `-----B`; their value is the base64."""
    for index, (start, _) in enumerate(places):
        begin = _BEGIN.match(data, start)
        if begin is None:
            continue
        next_start = places[index + 1][0] if index + 1 < len(places) else len(data)
        end = _END.search(data, begin.end(), min(next_start, begin.end() + MAX_BLOCK_BYTES))
        if end is None:
            continue
        body = _FILLING.sub(b"", _HEADER.sub(b"", data[begin.end() : end.start()]))
        if len(body) < MIN_BASE64_BYTES or _BASE64.fullmatch(body) is None:
            continue
        if reserved or len(set(body)) > 16:
            yield Found(start, end.end(), KIND, body)
