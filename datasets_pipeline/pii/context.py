"""Words beside a number that say what it is, where the number alone is too weak a sign."""

import re

BYTES_BEFORE = 64
BYTES_AFTER = 24


def words(*alternatives: str) -> re.Pattern[bytes]:
    """A pattern for any of these words (regular expressions, of characters), not inside longer ones, in any case."""
    joined = "|".join(alternatives).encode()
    return re.compile(rb"(?<![A-Za-z\x80-\xff])(?:" + joined + rb")(?![A-Za-z\x80-\xff])", re.IGNORECASE)


def is_near(pattern: re.Pattern[bytes], data: bytes, start: int, end: int) -> bool:
    """Whether one of the words stands close before data[start:end], or right behind it."""
    return (
        pattern.search(data, max(0, start - BYTES_BEFORE), start) is not None
        or pattern.search(data, end, end + BYTES_AFTER) is not None
    )
