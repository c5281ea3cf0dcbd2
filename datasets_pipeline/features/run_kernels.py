# mypy: allow-untyped-defs
"""Compiled counts over runs of characters that are not whitespace: addresses, tags, phrases, ends of sentences.

word_kernels.py finds the runs and calls `look_closer` for the few that hold one of `. : < #`. Every function
reads forward from its run and never reads a stretch of text twice, so time is linear whatever the text.

Imported only by word_kernels.py, on first use.
"""

import numpy as np
from numba import njit

from datasets_pipeline.features import characters as ch
from datasets_pipeline.features.byte_kernels import (
    class_of,
    count_characters,
    last_character,
    phrase_bytes,
    read_character,
    stands_at,
)
from datasets_pipeline.features.columns import COUNT_COLUMNS, MAX_TAG_BYTES

_AT = {column.name: index for index, column in enumerate(COUNT_COLUMNS)}
NUM_ELLIPSES, NUM_URLS, NUM_URL_CHARS = _AT["num_ellipses"], _AT["num_urls"], _AT["num_url_chars"]
NUM_TAG_CHARS, NUM_HIDDEN_CHARS = _AT["num_tag_chars"], _AT["num_hidden_chars"]
NUM_SYMBOL_RUNS = _AT["num_symbol_runs"]
NUM_BOILERPLATE_PHRASES = _AT["num_boilerplate_phrases"]
NUM_BOILERPLATE_PARAGRAPHS, NUM_LOREM_IPSUM = _AT["num_boilerplate_paragraphs"], _AT["num_lorem_ipsum"]
NUM_XML_HEADERS = _AT["num_xml_headers"]

XML_HEADER = phrase_bytes("<?xml version=")
XML_HEADER_CHARS = 100
ADDRESS = phrase_bytes("://")
COMMENT_START, COMMENT_END = phrase_bytes("<!--"), phrase_bytes("-->")
SCRIPT, STYLE = phrase_bytes("<script"), phrase_bytes("<style")
SCRIPT_END, STYLE_END = phrase_bytes("</script"), phrase_bytes("</style")

TERMS, OF_USE = phrase_bytes("terms"), phrase_bytes(" of use")
LOREM, IPSUM = phrase_bytes("lorem"), phrase_bytes(" ipsum")
COOKIE, POLICY = phrase_bytes("cookie"), phrase_bytes(" policy")
COOKIES, USE, USES, USE_OF = (
    phrase_bytes("cookies"),
    phrase_bytes("use "),
    phrase_bytes("uses "),
    phrase_bytes("use of "),
)
PRIVACY, OVERVIEW = phrase_bytes("privacy"), phrase_bytes(" overview")
AND_COOKIES, AMPERSAND_COOKIES = phrase_bytes(" and cookies policy"), phrase_bytes(" & cookies policy")
NECESSARY, ESSENTIAL = phrase_bytes("necessary "), phrase_bytes(" are absolutely essential")
CHANGING_SETTINGS = phrase_bytes("without changing your cookie settings")
WITHOUT_CHANGING_YOUR = 22  # bytes of it before "cookie"

# positions in the notes that are kept from run to run
TAGS_END, LAST_PHRASE = range(2)
NUM_RUN_NOTES = 2


@njit(nogil=True)
def _find(data, at, end, phrase):
    """Where `phrase` begins at or after `at`; -1 if it does not."""
    while at + phrase.shape[0] <= end:
        if data[at] == phrase[0] and stands_at(data, at, end, phrase):
            return at
        at += 1
    return np.int64(-1)


@njit(nogil=True)
def _skip_tag(data, at, end, row, notes):
    """Count the tag or comment that begins at the '<' at `at`, and the script that follows it."""
    following = data[at + 1] if at + 1 < end else np.uint8(0)
    is_name = 0x61 <= (following | 0x20) <= 0x7A
    if not is_name and following != 0x2F and following != 0x21 and following != 0x3F:
        return
    if stands_at(data, at, end, COMMENT_START):
        close = _find(data, at + 4, end, COMMENT_END)
        tag_end = end if close < 0 else close + 3
        row[NUM_TAG_CHARS] += count_characters(data, at, tag_end)
        notes[TAGS_END] = tag_end
        return
    last = min(end, at + MAX_TAG_BYTES)
    close = at + 1
    while close < last and data[close] != 0x3E and data[close] != 0x3C:
        close += 1
    if close == last or data[close] == 0x3C:
        return
    tag_end = close + 1
    row[NUM_TAG_CHARS] += count_characters(data, at, tag_end)
    is_script, is_style = stands_at(data, at, tag_end, SCRIPT), stands_at(data, at, tag_end, STYLE)
    if (is_script or is_style) and data[tag_end - 2] != 0x2F:
        close = _find(data, tag_end, end, SCRIPT_END if is_script else STYLE_END)
        close = end if close < 0 else close
        row[NUM_HIDDEN_CHARS] += count_characters(data, tag_end, close)
        tag_end = close
    notes[TAGS_END] = tag_end


@njit(nogil=True)
def _may_stand_in_address(byte):
    """[a-zA-Z], [0-9], [$-_@.&+], [!*(),], % and two digits: NeMo's characters after http://."""
    return 0x24 <= byte <= 0x5F or 0x61 <= byte <= 0x7A or byte == 0x21


@njit(nogil=True)
def _count_address(data, first, at, last, row):
    """Count the characters of the address around the '://' at `at`; returns where it ends."""
    begin = at - 5 if at - 5 >= first and data[at - 1] == 0x73 else at - 4
    if begin < first or not (
        data[begin] == 0x68 and data[begin + 1] == 0x74 and data[begin + 2] == 0x74 and data[begin + 3] == 0x70
    ):
        return at + 3
    address_end = at + 3
    while address_end < last and _may_stand_in_address(data[address_end]):
        address_end += 1
    if address_end > at + 3:
        row[NUM_URL_CHARS] += address_end - begin
    return address_end


@njit(nogil=True)
def look_closer(data, start, first, last, end, row, notes):
    """Count what begins with `. : < #` in the run data[first:last] of the document data[start:end]."""
    dots = marks = groups = np.int64(0)
    address_end = first
    at = first
    while at < last:
        byte = data[at]
        if byte == 0x2E:
            dots += 1
            if dots == 3:
                row[NUM_ELLIPSES] += 1
                dots = np.int64(0)
        else:
            dots = np.int64(0)
            if byte == 0x23:
                groups += at == first or data[at - 1] != 0x23
                marks += 1
            elif byte == 0x3A:
                if stands_at(data, at, last, ADDRESS):
                    row[NUM_URLS] += at > first and 0x61 <= (data[at - 1] | 0x20) <= 0x7A
                    if at >= address_end:
                        address_end = _count_address(data, first, at, last, row)
            elif byte == 0x3C:
                # Anywhere, in a comment or a script too.
                if at - start < 4 * XML_HEADER_CHARS and stands_at(data, at, end, XML_HEADER):
                    chars = count_characters(data, start, at) + XML_HEADER.shape[0]
                    row[NUM_XML_HEADERS] |= chars <= XML_HEADER_CHARS
                if at >= notes[TAGS_END]:
                    _skip_tag(data, at, end, row, notes)
        at += 1
    if marks and 2 * groups > count_characters(data, first, last):
        row[NUM_SYMBOL_RUNS] += 1


@njit(nogil=True)
def is_ellipsis(data, first, last):
    """Whether a run is one of NeMo's ellipses: ... [...] (...) … […] -»."""
    size = last - first
    if size == 3:
        return (
            (data[first] == 0x2E and data[first + 1] == 0x2E and data[first + 2] == 0x2E)
            or (data[first] == 0xE2 and data[first + 1] == 0x80 and data[first + 2] == 0xA6)
            or (data[first] == 0x2D and data[first + 1] == 0xC2 and data[first + 2] == 0xBB)
        )
    if size == 5 and (data[first] == 0x5B or data[first] == 0x28):
        closes = data[last - 1] == (0x5D if data[first] == 0x5B else 0x29)
        return closes and (
            (data[first + 1] == 0x2E and data[first + 2] == 0x2E and data[first + 3] == 0x2E)
            or (data[first] == 0x5B and data[first + 1] == 0xE2 and data[first + 2] == 0x80 and data[first + 3] == 0xA6)
        )
    return False


@njit(nogil=True)
def _note_phrase(data, start, at, row, notes):
    """Count a paragraph (between two \\n) once, however many phrases it holds."""
    previous = notes[LAST_PHRASE]
    if previous >= 0:
        # Pairs of newlines do not overlap; what separates two phrases is any pair between them.
        separates = False
        for k in range(previous, at - 1):
            if data[k] == 10 and data[k + 1] == 10:
                separates = True
                break
        if not separates:
            notes[LAST_PHRASE] = at
            return
    row[NUM_BOILERPLATE_PARAGRAPHS] += 1
    notes[LAST_PHRASE] = at


@njit(nogil=True)
def look_for_phrases(data, start, first, last, end, row, notes):
    """Count the phrases of boilerplate around the run data[first:last], whose ends said that there may be one."""
    found = np.int64(0)
    if stands_at(data, last - 5, last, TERMS):
        found += stands_at(data, last, end, OF_USE)
    elif stands_at(data, last - 5, last, LOREM):
        if stands_at(data, last, end, IPSUM):
            row[NUM_LOREM_IPSUM] += 1
            _note_phrase(data, start, first, row, notes)
    elif stands_at(data, last - 7, last, PRIVACY):
        found += (
            stands_at(data, last, end, POLICY)
            or stands_at(data, last, end, OVERVIEW)
            or stands_at(data, last, end, AND_COOKIES)
            or stands_at(data, last, end, AMPERSAND_COOKIES)
        )
    elif stands_at(data, last - 6, last, COOKIE):
        found += stands_at(data, last, end, POLICY)
        settings = last - 6 - WITHOUT_CHANGING_YOUR
        found += settings >= start and stands_at(data, settings, end, CHANGING_SETTINGS)
    if stands_at(data, first, last, COOKIES):
        found += (
            (first - 4 >= start and stands_at(data, first - 4, first, USE))
            or (first - 5 >= start and stands_at(data, first - 5, first, USES))
            or (first - 7 >= start and stands_at(data, first - 7, first, USE_OF))
            or (
                first - 10 >= start
                and stands_at(data, first - 10, first, NECESSARY)
                and stands_at(data, first + 7, end, ESSENTIAL)
            )
        )
    if found:
        row[NUM_BOILERPLATE_PHRASES] += found
        _note_phrase(data, start, first, row, notes)


@njit(nogil=True)
def ends_sentence(data, first, last, classes):
    """Whether the run data[first:last] ends in sentence-ending marks, quotes and brackets after them left aside."""
    end = last
    while end > first:
        code, at = last_character(data, first, end)
        kind = class_of(code, classes)
        if kind & ch.TERMINAL:
            return True
        if not kind & (ch.CLOSES | ch.QUOTE):
            return False
        end = at
    return False


@njit(nogil=True)
def count_inner_sentences(data, first, last, classes):
    """Sentence-ending marks in a run of a script without spaces, those in a row as one."""
    sentences, at, was_mark = np.int64(0), first, False
    while at < last:
        code, width = read_character(data, at, last)
        is_mark = class_of(code, classes) & ch.TERMINAL != 0
        sentences += is_mark and not was_mark
        was_mark = is_mark
        at += width
    return sentences
