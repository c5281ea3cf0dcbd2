"""The stored form of a text and its identity: the first thing that happens to every extracted document.

Two files that differ only in line ends, Unicode composition or outer blanks hold one text and get
one id. Costs about 0.1 ms per megabyte of ASCII and 3 ms per megabyte of accented text. Changing one
byte of what this module returns needs a new TEXT_VERSION, because the text is the document.
"""

import hashlib
import unicodedata

TEXT_VERSION = "1"
# NFC of a text depends on the Unicode tables of the interpreter only for characters that were not
# assigned yet when the older one was made; it belongs in a fingerprint all the same (CONTRACTS 1).
UNICODE_VERSION = unicodedata.unidata_version

DOCUMENT_ID_BYTES = 16
REPLACEMENT_CHARACTER = "\ufffd"
# What str.isspace() calls blank, and U+FEFF, which opens files and pasted fragments as a byte-order mark.
_BLANKS = (
    "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008"
    "\u2009\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
)


def normalize_text(text: str) -> str:
    r"""The text as it is stored: NFC, `\n` line ends, outer blanks stripped. Idempotent.

    NUL becomes U+FFFD, because databases and C readers cut a text there and deleting it would join
    two words. Two surrogates that form a pair become the character they mean; a lone surrogate,
    which UTF-8 cannot hold, becomes U+FFFD. Nothing else is changed: other control characters,
    inner blanks and inner byte-order marks are for rules to judge.
    """
    if not text.isascii():
        text = _without_surrogates(text)
    if "\x00" in text:
        text = text.replace("\x00", REPLACEMENT_CHARACTER)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return text.strip(_BLANKS)


def document_id(text: str) -> bytes:
    """BLAKE2b-128 of the UTF-8 bytes of a stored text (what normalize_text returned); 16 bytes."""
    return hashlib.blake2b(text.encode("utf-8"), digest_size=DOCUMENT_ID_BYTES).digest()


def _without_surrogates(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
