"""Where a page's opening states something, compiled: the places of the few tags in question, found in one pass."""

import numba
import numpy as np

HAS_LICENCE, HAS_LICENCE_VALUE, HAS_ITEMPROP = 1, 2, 4
"""Whether the word license is there; as an attribute's value; whether itemprop is."""
META, TITLE, HTML, HEAD_END = 1, 2, 3, 4

_META, _LINK, _TITLE = (np.frombuffer(word, np.uint8) for word in (b"meta", b"link", b"title"))
_HTML, _HEAD_END, _LICENSE, _ITEMPROP = (
    np.frombuffer(word, np.uint8) for word in (b"html", b"/head", b"license", b"itemprop")
)
_LOOKED_AT = np.zeros(256, np.bool_)
_LOOKED_AT[[*b"<cCpP"]] = True


@numba.njit(cache=True, nogil=True)
def find_tags(opening, places, kinds):  # type: ignore[no-untyped-def]
    """Write where <meta>, <link>, <title>, <html> and </head> begin; how many there are, and which words are.

    opening: uint8; places (int64) and kinds (uint8) are as long as there may be tags: when they are full, more are only
    counted.
    """
    n, found, words = len(opening), 0, 0
    for i in range(n):
        byte = opening[i]
        if not _LOOKED_AT[byte]:
            continue
        if byte == 60:
            kind = 0
            if _says(opening, i + 1, n, _META) or _says(opening, i + 1, n, _LINK):
                kind = META
            elif _says(opening, i + 1, n, _TITLE):
                kind = TITLE
            elif _says(opening, i + 1, n, _HTML):
                kind = HTML
            elif _says(opening, i + 1, n, _HEAD_END):
                kind = HEAD_END
            if kind > 0:
                if found < len(places):
                    places[found], kinds[found] = i, kind
                found += 1
        elif byte | 32 == 99:  # a letter that is rarer than the first of license
            if i >= 2 and _says(opening, i - 2, n, _LICENSE):
                words |= HAS_LICENCE
                k = i - 3
                if k >= 0 and (opening[k] == 34 or opening[k] == 39):
                    k -= 1
                while k >= 0 and (opening[k] <= 32 or opening[k] >= 128):
                    k -= 1
                if k >= 0 and opening[k] == 61:
                    words |= HAS_LICENCE_VALUE
        elif i >= 4 and _says(opening, i - 4, n, _ITEMPROP):
            words |= HAS_ITEMPROP
    return found, words


@numba.njit(cache=True, nogil=True)
def _says(page, i, n, word):  # type: ignore[no-untyped-def]
    """Whether the word stands at i, before n, in whatever case."""
    if i + len(word) > n:
        return False
    for k in range(len(word)):
        if page[i + k] != word[k] and not (65 <= page[i + k] <= 90 and page[i + k] | 32 == word[k]):
            return False
    return True
