"""The shape of a number and what is beside it: digits as 0, capitals as A, small letters as a.

Most numbers of a text share a few shapes (dates, sizes, ports), so what a shape can be is looked up, not computed, and
only a number of the right shape meets the regular expressions and check digits of a kind.
"""

BEFORE, AFTER = 3, 3
"""Bytes beside a number that belong to its shape: a letter with its separator, a plus and a bracket."""
MAX_BYTES = 56
"""Longer numbers have no shape: they do not repeat, and may be anything."""

# What may stand inside a number stays, the bytes of no-break characters too; anything else ends it alike.
_KEPT = frozenset(b"0 .-/()+,_#=&?%$:\xc2\xa0\xe2\x80\xaf\x91")


def _table() -> bytes:
    table = bytearray(byte if byte in _KEPT else ord("~") for byte in range(256))
    table[ord("0") : ord("9") + 1] = b"0" * 10
    table[ord("A") : ord("Z") + 1] = b"A" * 26
    table[ord("a") : ord("z") + 1] = b"a" * 26
    return bytes(table)


_TABLE = _table()


def shape_of(data: bytes, start: int, end: int) -> bytes:
    """The shape of data[start:end] and the bytes beside it."""
    return data[max(0, start - BEFORE) : end + AFTER].translate(_TABLE)
