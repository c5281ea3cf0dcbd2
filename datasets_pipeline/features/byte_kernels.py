# mypy: allow-untyped-defs
"""Compiled reading of UTF-8 bytes: characters, hashes of stretches of text, sets of hashes.

Text is hashed eight bytes at a time. Two different texts are taken for one with probability 2**-64 a pair,
unless somebody constructs them to. `limit` is the end of the buffer that holds the text: what lies between
a text's end and `limit` may be read, and is masked away.

Imported only by the other kernels, which are imported on first use: numba takes 0.5 s to load.
"""

import numpy as np
from numba import njit

from datasets_pipeline.features import characters as ch
from datasets_pipeline.features.pointers import load_8_bytes

TABLE_SIZE = ch.TABLE_SIZE

_HASH_START = np.uint64(0x9E3779B97F4A7C15)
_HASH_STEP = np.uint64(0xD6E8FEB86659FD93)
_MIX = np.uint64(0xFF51AFD7ED558CCD)
HIGH_BITS = np.uint64(0x8080808080808080)
LOW_BITS = np.uint64(0x0101010101010101)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


@njit(nogil=True)
def mix(value):
    """Spread a 64-bit value over all its bits (a bijection)."""
    value ^= value >> np.uint64(32)
    value *= _MIX
    value ^= value >> np.uint64(29)
    return value


@njit(nogil=True)
def decode(data, at, end):
    """(code point, bytes taken) of the non-ASCII character at `at`; a cut sequence reads as U+FFFD."""
    lead = np.int64(data[at])
    if lead < 0xE0:
        if at + 1 < end:
            return ((lead & 0x1F) << 6) | (data[at + 1] & 0x3F), 2
    elif lead < 0xF0:
        if at + 2 < end:
            return ((lead & 0x0F) << 12) | (np.int64(data[at + 1] & 0x3F) << 6) | (data[at + 2] & 0x3F), 3
    elif at + 3 < end:
        code = ((lead & 0x07) << 18) | (np.int64(data[at + 1] & 0x3F) << 12)
        return code | (np.int64(data[at + 2] & 0x3F) << 6) | (data[at + 3] & 0x3F), 4
    return 0xFFFD, 1


@njit(nogil=True)
def class_of(code, classes):
    return np.int64(classes[code]) if code < TABLE_SIZE else np.int64(0)


@njit(nogil=True)
def read_character(data, at, end):
    """(code point, bytes taken) of any character."""
    code = np.int64(data[at])
    if code < 0x80:
        return code, 1
    return decode(data, at, end)


@njit(nogil=True)
def last_character(data, start, end):
    """(code point, where it begins) of the last character of data[start:end], which is not empty."""
    at = end - 1
    while at > start and data[at] & 0xC0 == 0x80:
        at -= 1
    code, _ = read_character(data, at, end)
    return code, at


@njit(nogil=True)
def up_to_8_bytes(data, at, end, limit):
    """data[at:end], at most 8 bytes of it, as one number; the missing bytes are zero."""
    count = end - at
    if count >= 8:
        return load_8_bytes(data, at)
    if count <= 0:
        return np.uint64(0)
    if at + 8 <= limit:
        return load_8_bytes(data, at) & (_ALL >> np.uint64(64 - 8 * count))
    word = np.uint64(0)
    for k in range(count):
        word |= np.uint64(data[at + k]) << np.uint64(8 * k)
    return word


@njit(nogil=True)
def hash_start():
    return _HASH_START


@njit(nogil=True)
def hash_step(value, word):
    """Take eight more bytes into a hash."""
    value = (value ^ word) * _HASH_STEP
    return value ^ (value >> np.uint64(32))


@njit(nogil=True)
def hash_end(value, num_bytes):
    return mix(value ^ np.uint64(num_bytes))


@njit(nogil=True)
def hash_bytes(data, start, end, limit):
    """64-bit identity of data[start:end], from its bytes alone."""
    value, at = _HASH_START, start
    while at + 8 <= end:
        value = hash_step(value, load_8_bytes(data, at))
        at += 8
    if at < end:
        value = hash_step(value, up_to_8_bytes(data, at, end, limit))
    return hash_end(value, end - start)


@njit(nogil=True)
def count_characters(data, start, end):
    """Code points of data[start:end]: the bytes that do not continue a character."""
    chars = 0
    for at in range(start, end):
        chars += data[at] & 0xC0 != 0x80
    return chars


@njit(nogil=True)
def stood_before(key, keys, stamps, stamp, mask):
    """Whether `key` was put into this generation of the hash set; puts it there otherwise."""
    slot = np.int64(key >> np.uint64(20)) & mask
    while stamps[slot] == stamp:
        if keys[slot] == key:
            return True
        slot = (slot + 1) & mask
    stamps[slot] = stamp
    keys[slot] = key
    return False


@njit(nogil=True)
def stands_at(data, at, end, phrase):
    """Whether data[at:end] begins with `phrase`, lower-case bytes; A to Z count as a to z."""
    if at < 0 or at + phrase.shape[0] > end:
        return False
    for k in range(phrase.shape[0]):
        byte = data[at + k]
        if 0x41 <= byte <= 0x5A:
            byte |= 0x20
        if byte != phrase[k]:
            return False
    return True


def phrase_bytes(text):
    """A phrase as a constant of a compiled function."""
    return np.frombuffer(text.encode(), np.uint8)
