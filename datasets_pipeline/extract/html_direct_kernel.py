"""The loop of html_direct, compiled: a page's bytes in, well-formed HTML out; or the answer that a parser is needed.

A stack of the open elements that mean something is kept. An end tag closes what the HTML standard (section 13.2.6) says
that it closes, a start tag what it says that it closes; formatting elements, which the standard opens again and moves
about, mean nothing to the text. Where one might, and at anything else that needs a repair, the loop gives up. What is
written needs no parser: names are those of html_direct's table, attributes are gone, `&` and `<` of the text are
escaped. All of the code is in this file, because numba sees by the file of its entry that machine code is old.
"""

import numba
import numpy as np

# What the standard does with a tag. NEUTRAL means anything without a rule of its own; PHRASE is that, but ends SVG.
NEUTRAL, PHRASE, ANCHOR, MATH_TEXT, INLINE, NOSCRIPT = 0, 1, 2, 3, 5, 6
BLOCK, DIVISION, PARAGRAPH, HEADING, PRE, ITEM, TERM, FORM, BUTTON, OBJECT = 10, 11, 12, 13, 14, 15, 16, 17, 18, 19
TABLE, SECTION, ROW, COLUMNS, COLUMN, CELL, CAPTION = 20, 21, 22, 23, 24, 25, 26
BREAK, RULE, VOID, META, IMAGE = 30, 31, 32, 33, 34
RAW, RAW_IN_HEAD, TITLE, TEXTAREA, SELECT, OPTION, SVG, MATH = 40, 41, 42, 43, 44, 45, 46, 47
HTML, HEAD, BODY, HARD = 50, 51, 52, 60

MAX_OPEN = 256
"""Elements that may be open at once; lexbor takes a deeper page."""
BYTES_SPARE = 4096
"""The output has a quarter more bytes than the page, and these: for tags that a page leaves out."""
GIVEN_UP, NONE = -1, -2
_MAX_NAME = 40  # of an entity; the longest has 31 letters

QUIRKS, STANDARD, UNKNOWN = 0, 1, 2
NOWHERE, SURELY, PERHAPS = 0, 1, 2

_SPACE = np.uint8(32)
_DIV = np.uint64(int.from_bytes(b"div\0\0\0\0\3", "little"))
_TR = np.uint64(int.from_bytes(b"tr\0\0\0\0\0\2", "little"))
_P = np.uint64(int.from_bytes(b"p\0\0\0\0\0\0\1", "little"))
_STYLE = np.uint64(int.from_bytes(b"style\0\0\5", "little"))
_A = np.uint64(int.from_bytes(b"a\0\0\0\0\0\0\1", "little"))
_DESC = np.uint64(int.from_bytes(b"desc\0\0\0\4", "little"))
_TBODY = np.uint64(int.from_bytes(b"tbody\0\0\5", "little"))
_UL = np.uint64(int.from_bytes(b"ul\0\0\0\0\0\2", "little"))
_OL = np.uint64(int.from_bytes(b"ol\0\0\0\0\0\2", "little"))
_SCRIPT_KEY = np.uint64(int.from_bytes(b"script\0\6", "little"))
_SCRIPT = np.uint64(int.from_bytes(b"script\0\0", "little"))
_TEMPLATE = np.uint64(int.from_bytes(b"templat\0", "little"))
_FIRST_SIX, _FIRST_SEVEN = np.uint64((1 << 48) - 1), np.uint64((1 << 56) - 1)

_STOPS = np.zeros(256, np.bool_)
"""Bytes of a text that are looked at: markup, entities, NUL, carriage return, the first of U+00A0."""
_STOPS[[0, 13, 38, 60, 0xC2]] = True
_NAME = np.zeros(256, np.bool_)
"""Bytes of names that mean the same to everyone who reads them; attributes may have some more."""
_NAME[[*b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_:.,"]] = True
_ATTRIBUTE = _NAME.copy()
_ATTRIBUTE[[*b"@#$*()[]{}!?+,;|~%"]] = True
_ROLE, _HIDDEN = np.frombuffer(b"role", np.uint8), np.frombuffer(b"hidden", np.uint8)
_ROLES = tuple(np.frombuffer(role, np.uint8) for role in (b"navigation", b"banner", b"contentinfo", b"search"))
_SCRIPT_END = np.frombuffer(b"/script", np.uint8)
_IMG, _SCRIPT_WORD = np.frombuffer(b"img", np.uint8), np.frombuffer(b"script", np.uint8)
_TYPE = np.frombuffer(b"type", np.uint8)
_TEMPLATES = tuple(
    np.frombuffer(b"text/" + name, np.uint8)
    for name in (b"x-handlebars", b"x-template", b"html", b"ng-template", b"x-mustache")
)
_TEXT, _DOCTYPE = np.frombuffer(b"text/", np.uint8), np.frombuffer(b"doctype html>", np.uint8)
_AMP, _LT = np.frombuffer(b"&amp;", np.uint8), np.frombuffer(b"&lt;", np.uint8)
_NBSP = np.frombuffer(b"&nbsp;", np.uint8)
_WINDOWS = np.array([ord(bytes([b]).decode("cp1252", "replace")) for b in range(128, 160)], np.int64)
"""What the numbers 128 to 159 mean in an entity; U+FFFD where it is nothing."""


@numba.njit(cache=True, nogil=True)
def write_well_formed(  # type: ignore[no-untyped-def]
    page, names, tails, classes, written, is_unseen, factor, entities, codes, without_marked, out
):
    """Write what of the page (uint8, UTF-8) is to be read to out (uint8); its length, or GIVEN_UP.

    names: a table of 4096 numbers (uint64) of tag names as in html_kernel; tails: their eighth to fifteenth byte;
    classes, written, is_unseen: by place, what the standard does with the tag, the number of the name that is written
    for it (0: none), whether its element is left out. entities: the same for names of entities; codes: what each stands
    for, plus 2^32 for one that needs no `;`.
    without_marked: whether elements that are marked hidden, or as surroundings by their role, are left out.
    """
    n, size = len(page), len(out)
    o = i = depth = 0
    keys = np.empty(MAX_OPEN, np.uint64)
    kinds = np.empty(MAX_OPEN, np.uint8)
    writes = np.empty(MAX_OPEN, np.uint64)
    returns = np.empty(MAX_OPEN, np.int64)  # where the output ended before an element that is left out; -1 for others
    in_paragraph = np.empty(MAX_OPEN, np.bool_)  # whether a block would close a p (the standard's button scope)
    found = np.empty(5, np.int64)
    place = 0  # before the body, in it, after it
    kind = top = np.uint8(HTML)
    has_head = is_past_doctype = is_in_template = False
    tables_close = QUIRKS  # whether a table closes a paragraph, as the doctype says
    in_anchor = NOWHERE
    # Elements that a parser opens again where a block has closed them (its list of active formatting elements): how
    # many are open, of which name, since which depth, and whether some may be that were closed here.
    phrases, num_phrases, phrases_at, may_linger = np.zeros(4096, np.int32), 0, 0, False
    pre_at = strict_at = MAX_OPEN  # depths of an open pre, and of the outermost whose end depends on all that is in it
    foreign = 0  # depth at which svg or math stands
    while i < n:
        # A stretch of text.
        if page[i] != 60:
            is_open = place == 1 and (top < TABLE or top > COLUMN)
            if not is_open:
                while i < n and _is_white(page[i]):
                    i += 1
                if i == n or page[i] == 60:
                    continue
                if place != 0 or page[i] == 38:
                    return GIVEN_UP
                place, depth, top, is_past_doctype = 1, 1, np.uint8(BODY), True
                keys[0], kinds[0], writes[0], returns[0], in_paragraph[0] = 0, BODY, _DIV, -1, False
                o = _opening(out, o, _DIV)
            while i < n:
                byte = page[i]
                if not _STOPS[byte]:
                    out[o] = byte
                    o += 1
                    i += 1
                    continue
                if byte == 60:
                    break
                if o + (n - i) + 32 > size:
                    return GIVEN_UP
                if byte == 38 and foreign > 0 and keys[depth - 1] == _STYLE:
                    return GIVEN_UP
                o, i = _character(page, i, n, False, entities, codes, factor, out, o)
                if i < 0:
                    return GIVEN_UP
            continue
        if o + (n - i) + 32 > size or i + 1 >= n:
            return GIVEN_UP
        byte = page[i + 1]
        is_closing = byte == 47
        first = i + 1 + is_closing
        if first >= n:
            return GIVEN_UP
        lowered = page[first] | 32
        if not (97 <= lowered <= 122):
            if byte == 33 or byte == 63 or is_closing:
                if foreign > 0 and (keys[depth - 1] == _STYLE or (i + 2 < n and page[i + 2] == 91)):
                    return GIVEN_UP
                if not is_past_doctype and byte == 33 and i + 2 < n and page[i + 2] | 32 == 100:
                    tables_close = STANDARD if _says(page, i + 2, n, _DOCTYPE, True) else UNKNOWN
                    is_past_doctype = True
                i = _after_declaration(page, i, n, is_in_template)
                if i < 0:
                    return GIVEN_UP
            elif place == 1 and (top < TABLE or top > COLUMN) and foreign == 0:
                o = _encoded(out, o, 60)
                i += 1
            else:
                return GIVEN_UP
            continue
        is_past_doctype = True
        # The tag's name and attributes.
        key = tail = np.uint64(0)
        j = first
        while j < n and _NAME[page[j]]:
            byte = page[j]
            if 65 <= byte <= 90:
                byte |= 32
            if j - first < 7:
                key |= np.uint64(byte) << np.uint64(8 * (j - first))
            elif j - first < 15:
                tail |= np.uint64(byte) << np.uint64(8 * (j - first - 7))
            j += 1
        key |= np.uint64(min(j - first, 255)) << np.uint64(56)
        if j >= n:
            return GIVEN_UP
        if page[j] == 62:
            found[0] = found[3] = found[4] = 0
            found[1] = -1
            after = j + 1
        else:
            if not (_is_white(page[j]) or page[j] == 47):
                return GIVEN_UP
            after = _attributes(page, j, n, pre_at < depth or is_in_template, found)
            if after < 0:
                return GIVEN_UP
        slot = (key * factor) >> np.uint64(52)
        if names[slot] == key:
            if tails[slot] != tail:
                return GIVEN_UP
            kind, writing, is_left_out = classes[slot], written[slot], is_unseen[slot]
        else:
            kind, writing, is_left_out = np.uint8(NEUTRAL), np.uint64(0), False
            if j - first > 3 and _says(page, first, n, _IMG, True):
                return GIVEN_UP  # img-something: the pattern of pictures takes it for one
            if key & _FIRST_SEVEN == _TEMPLATE or (j - first > 6 and key & _FIRST_SIX == _SCRIPT):
                return GIVEN_UP  # template-something and script-something, which are opened
        if kind == HARD or (found[3] == 2 and without_marked):
            return GIVEN_UP
        is_marked = found[3] == 1 and without_marked and not is_closing
        # A script that holds a page is opened, as html.py says: up to the next </script>, wherever that stands.
        if key == _SCRIPT_KEY:
            if is_in_template:
                if not is_closing or page[j] != 62:
                    return GIVEN_UP
                is_in_template = False
                key, kind, writing = _DIV, np.uint8(DIVISION), _DIV
            elif not is_closing and found[4]:
                for k in range(i + 1, after - 1):
                    if page[k] == 60 or page[k] == 62:
                        return GIVEN_UP
                is_in_template = True
                key, kind, writing, is_marked = _DIV, np.uint8(DIVISION), _DIV, False

        if place == 0:
            if is_closing:
                if kind != HEAD:
                    return GIVEN_UP
                i = after
                continue
            if kind in (HTML, HEAD):
                if is_marked or (kind == HEAD and has_head):
                    return GIVEN_UP
                has_head = has_head or kind == HEAD
                i = after
                continue
            if kind == META:
                i = after
                continue
            if kind in (RAW_IN_HEAD, TITLE):
                i = _after_raw(page, i, first, j, after, n, is_in_template, found)
                if i < 0:
                    return GIVEN_UP
                continue
            if kind == NOSCRIPT or (kind == BODY and is_marked):
                return GIVEN_UP
            place, depth, top = 1, 1, np.uint8(BODY)
            keys[0], kinds[0], writes[0], returns[0], in_paragraph[0] = 0, BODY, _DIV, -1, False
            o = _opening(out, o, _DIV)
            if kind == BODY:
                i = after
                continue
        elif kind in (BODY, HTML):
            if not is_closing:
                if place == 2 or found[3] != 0 or top == SELECT or foreign > 0:
                    return GIVEN_UP
                i = after
                continue
            # The end of the body leaves all elements open; only blanks may follow.
            if place == 1:
                for k in range(depth):
                    if TABLE <= kinds[k] <= CAPTION or kinds[k] in (PRE, OBJECT, SELECT, SVG, MATH):
                        return GIVEN_UP
                place = 2
            i = after
            continue
        elif place == 2 and (is_closing or kind != RAW_IN_HEAD):
            return GIVEN_UP
        i = after

        if foreign > 0:
            if is_closing:
                if keys[depth - 1] != key:
                    return GIVEN_UP
                depth -= 1
                if returns[depth] >= 0:
                    o = returns[depth]
                if depth == foreign - 1:
                    foreign = 0
                top = kinds[depth - 1]
                continue
            if kinds[depth - 1] in (TITLE, MATH_TEXT) or keys[depth - 1] == _STYLE:
                return GIVEN_UP
            if kinds[foreign - 1] == SVG:
                if not (kind in (NEUTRAL, TITLE, SVG) or key in (_A, _STYLE)):
                    return GIVEN_UP
                if key == _DESC:
                    kind = np.uint8(TITLE)
            elif kind != NEUTRAL and kind != MATH_TEXT:
                return GIVEN_UP
            if found[0]:
                continue
            if depth >= MAX_OPEN:
                return GIVEN_UP
            keys[depth], kinds[depth], writes[depth], in_paragraph[depth] = key, kind, 0, False
            returns[depth] = o if is_marked else -1
            depth += 1
            top = kind
            continue

        if top == SELECT:
            if is_closing and kind == SELECT:
                depth -= 1
                if returns[depth] >= 0:
                    o = returns[depth]
                top = kinds[depth - 1]
            elif kind != OPTION:
                return GIVEN_UP
            continue
        if kind == OPTION:
            return GIVEN_UP
        limit = size - (n - i) - 32
        if strict_at >= depth:
            strict_at = MAX_OPEN
        is_in_table = TABLE <= top <= COLUMNS

        # Elements that mean nothing to the text are followed only where one that does may end by their end tags.
        if kind <= MATH_TEXT:
            if is_in_table:
                if is_closing:
                    continue
                return GIVEN_UP
            if kind in (PHRASE, ANCHOR):
                if not is_closing:
                    if num_phrases == 0:
                        phrases_at = depth
                    num_phrases += 1
                    phrases[slot] += 1
                elif phrases[slot] > 0:
                    num_phrases -= 1
                    phrases[slot] -= 1
                    may_linger = may_linger or (strict_at >= depth and phrases_at != depth)
            if strict_at < depth or is_marked:
                if is_closing:
                    if keys[depth - 1] != key:
                        return GIVEN_UP
                    depth -= 1
                    o = _closing(out, o, writes[depth], returns[depth])
                    top = kinds[depth - 1]
                else:
                    if depth >= MAX_OPEN or (kind == ANCHOR and in_anchor != NOWHERE):
                        return GIVEN_UP
                    if is_marked:
                        strict_at = min(strict_at, depth)
                    top = np.uint8(INLINE) if is_marked else np.uint8(NEUTRAL)
                    keys[depth], kinds[depth], writes[depth], returns[depth] = key, top, 0, o if is_marked else -1
                    in_paragraph[depth] = in_paragraph[depth - 1]
                    depth += 1
            if kind == ANCHOR and in_anchor != PERHAPS:
                in_anchor = NOWHERE if is_closing else SURELY
            continue

        # Parts of tables: first out of the cell that is open, then out of what the part cannot stand in.
        if TABLE < kind <= CAPTION or (kind == TABLE and is_closing):
            if not is_in_table:
                k = _innermost(kinds, keys, depth, key, kind)
                if is_closing and kind in (CELL, CAPTION):
                    if k == NONE:
                        continue
                elif k == NONE:
                    k = depth - 1
                    while kinds[k] < CELL or kinds[k] > CAPTION:
                        if kinds[k] in (INLINE, FORM, BUTTON, OBJECT, NOSCRIPT) or k == 0:
                            return GIVEN_UP
                        k -= 1
                    if kinds[k] != CELL:
                        return GIVEN_UP
                if k < 0:
                    return GIVEN_UP
                o = _closed(out, o, limit, depth, k, kinds, writes, returns)
                if o < 0:
                    return GIVEN_UP
                depth = k
                top = kinds[depth - 1]
                if is_closing and kind in (CELL, CAPTION):
                    continue
            if top == COLUMNS and kind != COLUMN:
                depth -= 1
                o = _closing(out, o, np.uint64(0), returns[depth])
                top = kinds[depth - 1]
            if is_closing:
                # Of the row, of the section or of the table; others mean nothing here.
                k = depth - 1
                while kinds[k] != TABLE and keys[k] != key:
                    k -= 1
                if keys[k] != key:
                    continue
                o = _closed(out, o, limit, depth, k, kinds, writes, returns)
                if o < 0:
                    return GIVEN_UP
                depth = k
                top = kinds[depth - 1]
                continue
            k = depth
            if top == ROW and kind != CELL:
                k -= 1
            if kinds[k - 1] == SECTION and kind not in (ROW, CELL):
                k -= 1
            o = _closed(out, o, limit, depth, k, kinds, writes, returns)
            if o < 0 or k + 3 > MAX_OPEN:
                return GIVEN_UP
            depth = k
            top = kinds[depth - 1]
            if kind == COLUMN:
                continue
            if top == TABLE and kind in (ROW, CELL):
                keys[depth], kinds[depth], writes[depth], returns[depth] = _TBODY, SECTION, _DIV, -1
                in_paragraph[depth] = False
                o = _opening(out, o, _DIV)
                depth += 1
                top = np.uint8(SECTION)
            if top == SECTION and kind == CELL:
                keys[depth], kinds[depth], writes[depth], returns[depth], in_paragraph[depth] = _TR, ROW, _TR, -1, False
                o = _opening(out, o, _TR)
                depth += 1
            if kind in (CELL, CAPTION):
                may_linger = may_linger or num_phrases > 0
                if in_anchor == SURELY:
                    in_anchor = PERHAPS
            if pre_at >= depth:
                pre_at = MAX_OPEN
            keys[depth], kinds[depth], writes[depth], in_paragraph[depth] = key, kind, writing, False
            returns[depth] = o if is_left_out or is_marked else -1
            o = _opening(out, o, writing)
            depth += 1
            top = kind
            continue
        if is_in_table:
            if is_closing and kind not in (PARAGRAPH, FORM, BREAK, HEAD):
                continue
            if is_closing or kind != RAW_IN_HEAD:
                return GIVEN_UP

        if is_closing and kind == BREAK:
            is_closing = False  # the standard's own exception
        if is_closing:
            if kind in (HEAD, TITLE):
                return GIVEN_UP
            if kind > CAPTION:
                continue
            if kind == PARAGRAPH:
                if not in_paragraph[depth - 1]:
                    o = _opening(out, o, _P)
                    o = _closing(out, o, _P, -1)
                    continue
                k = depth - 1
                while kinds[k] == NEUTRAL:
                    k -= 1
                if kinds[k] != PARAGRAPH:
                    return GIVEN_UP
            elif kind in (INLINE, NOSCRIPT):
                k = depth - 1
                while kinds[k] == NEUTRAL and kind == NOSCRIPT:
                    k -= 1
                if keys[k] != key:
                    for other in range(depth):
                        if keys[other] == key:
                            return GIVEN_UP
                    continue
            else:
                k = _innermost(kinds, keys, depth, key, kind)
                if k == NONE:
                    continue
                if k < 0:
                    return GIVEN_UP
                if kind == FORM:
                    if num_phrases > 0 or may_linger:
                        return GIVEN_UP  # one that stands in the form would keep what follows in it
                    for other in range(k + 1, depth):
                        if not (kinds[other] == PARAGRAPH or kinds[other] == ITEM or kinds[other] == TERM):
                            return GIVEN_UP
            o = _closed(out, o, limit, depth, k, kinds, writes, returns)
            if o < 0:
                return GIVEN_UP
            depth = k
            top = kinds[depth - 1]
            continue

        if kind in (RAW, RAW_IN_HEAD, TEXTAREA):
            if pre_at < depth:
                return GIVEN_UP
            i = _after_raw(page, first - 1, first, j, i, n, is_in_template, found)
            if i < 0:
                return GIVEN_UP
            continue
        if kind in (TITLE, HEAD):
            return GIVEN_UP
        if kind == TABLE and pre_at < depth:
            return GIVEN_UP  # in which even the blanks between the rows stand
        k = depth
        if kind in (ITEM, TERM):
            k -= 1
            while kinds[k] == PARAGRAPH or kinds[k] == DIVISION or kinds[k] == NEUTRAL:
                k -= 1
            if kinds[k] == INLINE:
                return GIVEN_UP
            if kinds[k] != kind:
                k = depth
        if in_paragraph[k - 1] and (
            BLOCK <= kind <= FORM or kind == RULE or (kind == TABLE and tables_close != QUIRKS)
        ):
            k -= 1
            while kinds[k] == NEUTRAL:
                k -= 1
            if kinds[k] != PARAGRAPH or (kind == TABLE and tables_close == UNKNOWN):
                return GIVEN_UP
        o = _closed(out, o, limit, depth, k, kinds, writes, returns)
        if o < 0:
            return GIVEN_UP
        depth = k
        top = kinds[depth - 1]
        if pre_at >= depth:
            pre_at = MAX_OPEN
        if strict_at >= depth:
            strict_at = MAX_OPEN
        if kind in (BREAK, RULE):
            if not is_marked:
                o = _opening(out, o, writing)
            continue
        if kind in (VOID, META):
            continue
        if kind == IMAGE:
            if found[1] >= 0 and not is_marked:
                out[o] = _SPACE
                o += 1
                k, end = found[1], found[2]
                while k < end:
                    if page[k] == 60 or o + (n - i) + (end - k) + 32 > size:
                        return GIVEN_UP
                    if _STOPS[page[k]]:
                        o, k = _character(page, k, end, True, entities, codes, factor, out, o)
                        if k < 0:
                            return GIVEN_UP
                    else:
                        out[o] = page[k]
                        o += 1
                        k += 1
                out[o] = _SPACE
                o += 1
            continue
        if depth >= MAX_OPEN:
            return GIVEN_UP
        if kind == HEADING:
            if top in (HEADING, NEUTRAL):
                return GIVEN_UP
        elif kind == PRE:
            if pre_at < depth:
                return GIVEN_UP
            pre_at = depth
        elif kind in (FORM, BUTTON):
            if kind == FORM and (num_phrases > 0 or may_linger):
                return GIVEN_UP
            for other in range(depth):
                if kinds[other] == kind:
                    return GIVEN_UP
        elif kind in (SVG, MATH):
            if found[0]:
                continue
            foreign = depth + 1
        elif kind == OBJECT:
            may_linger = may_linger or num_phrases > 0
            if in_anchor == SURELY:
                in_anchor = PERHAPS
        if kind in (INLINE, FORM):
            strict_at = min(strict_at, depth)
        keys[depth], kinds[depth], writes[depth] = key, kind, writing
        returns[depth] = o if is_left_out or is_marked else -1
        in_paragraph[depth] = kind == PARAGRAPH or (
            in_paragraph[depth - 1] and kind not in (BUTTON, OBJECT, TABLE, CELL, CAPTION)
        )
        o = _opening(out, o, writing)
        depth += 1
        top = kind
    while depth > 0:
        depth -= 1
        if o + 32 > size:
            return GIVEN_UP
        o = _closing(out, o, writes[depth], returns[depth])
    return o


@numba.njit(cache=True, nogil=True)
def _innermost(kinds, keys, depth, key, kind):  # type: ignore[no-untyped-def]
    """Depth of the element that an end tag closes; NONE where it closes none, GIVEN_UP where others forbid to say."""
    is_sure = True
    k = depth - 1
    while True:
        other = kinds[k]
        if keys[k] == key or (kind == HEADING and other == HEADING):
            return k if is_sure else GIVEN_UP
        is_scope = TABLE <= other <= CAPTION or k == 0 or (other == OBJECT and kind < TABLE)
        if is_scope or (kind == ITEM and keys[k] in (_UL, _OL)):
            return NONE
        if other in (INLINE, FORM, BUTTON, NOSCRIPT, OBJECT):
            is_sure = False
        k -= 1


@numba.njit(cache=True, nogil=True)
def _closed(out, o, limit, depth, k, kinds, writes, returns):  # type: ignore[no-untyped-def]
    """Close the elements from the innermost to that at depth k; GIVEN_UP where the output would pass the limit.

    And where one is NEUTRAL, followed because a parser may open it again and end another by its end tag.
    """
    while depth > k:
        depth -= 1
        if o > limit or kinds[depth] == NEUTRAL:
            return GIVEN_UP
        o = _closing(out, o, writes[depth], returns[depth])
    return o if o <= limit else GIVEN_UP


@numba.njit(cache=True, nogil=True)
def _opening(out, o, name):  # type: ignore[no-untyped-def]
    """Write the start tag of a name of at most six bytes, if there is one."""
    length = np.int64(name >> np.uint64(56))
    if length > 0:
        out[o] = 60
        for k in range(length):
            out[o + 1 + k] = np.uint8(name >> np.uint64(8 * k) & np.uint64(255))
        out[o + 1 + length] = 62
        o += length + 2
    return o


@numba.njit(cache=True, nogil=True)
def _closing(out, o, name, returns):  # type: ignore[no-untyped-def]
    """Write the end tag of a name; or take back what was written since the element began."""
    if returns >= 0:
        return returns
    length = np.int64(name >> np.uint64(56))
    if length > 0:
        out[o], out[o + 1] = 60, 47
        for k in range(length):
            out[o + 2 + k] = np.uint8(name >> np.uint64(8 * k) & np.uint64(255))
        out[o + 2 + length] = 62
        o += length + 3
    return o


@numba.njit(cache=True, nogil=True)
def _is_white(byte):  # type: ignore[no-untyped-def]
    """Whether a byte is white space to HTML."""
    return byte == 32 or byte == 10 or byte == 9 or byte == 13 or byte == 12


@numba.njit(cache=True, nogil=True)
def _attributes(page, i, n, is_strict, found):  # type: ignore[no-untyped-def]
    """Read a tag from behind its name; where it ends, or GIVEN_UP.

    found: whether it closes itself; where the value of alt begins (-1: nowhere) and ends; whether it is marked as what
    is left out (2: that cannot be told); whether its type is one of templates.
    """
    found[0] = found[3] = found[4] = 0
    found[1] = -1
    has_role = False
    while i < n:
        byte = page[i]
        if byte == 62:
            return i + 1
        if _is_white(byte):
            i += 1
            continue
        if byte == 47:
            i += 1
            if i < n and page[i] == 62:
                found[0] = 1
                return i + 1
            continue
        name = i
        while i < n and _ATTRIBUTE[page[i]]:
            i += 1
        length = i - name
        if i >= n or length == 0 or not (_is_white(page[i]) or page[i] == 47 or page[i] == 62 or page[i] == 61):
            return GIVEN_UP
        while i < n and _is_white(page[i]):
            i += 1
        start = end = i
        if i < n and page[i] == 61:
            i += 1
            while i < n and _is_white(page[i]):
                i += 1
            if i >= n:
                return GIVEN_UP
            quote = page[i]
            start = end = i
            if quote == 34 or quote == 39:
                i += 1
                start = i
                while i < n and page[i] != quote:
                    if page[i] == 0 or (page[i] == 60 and not _is_quiet(page, i, n, is_strict)):
                        return GIVEN_UP
                    i += 1
                end = i
                i += 1
            elif quote != 62:
                while i < n and not _is_white(page[i]) and page[i] != 62:
                    if page[i] == 0 or (page[i] == 60 and not _is_quiet(page, i, n, is_strict)):
                        return GIVEN_UP
                    i += 1
                end = i
        if length == 3:
            if found[1] < 0 and page[name] | 32 == 97 and page[name + 1] | 32 == 108 and page[name + 2] | 32 == 116:
                found[1], found[2] = start, end
        elif length == 4:
            if _says(page, name, i, _TYPE, False):
                for template in _TEMPLATES:
                    if _says(page, start, end, template, False):
                        found[4] = 1
            elif _says(page, name, i, _ROLE, True):
                if has_role or not _says(page, name, i, _ROLE, False):
                    found[3] = 2
                has_role = True
                for role in _ROLES:
                    if end - start == len(role) and _says(page, start, end, role, True):
                        found[3] = max(found[3], 1 if _says(page, start, end, role, False) else 2)
                for k in range(start, end):
                    if page[k] == 38:
                        found[3] = 2
        elif length == 6 and _says(page, name, i, _HIDDEN, True):
            found[3] = max(found[3], 1 if _says(page, name, i, _HIDDEN, False) else 2)
    return GIVEN_UP


@numba.njit(cache=True, nogil=True)
def _is_quiet(page, i, n, is_strict):  # type: ignore[no-untyped-def]
    """Whether the `<` of an attribute's value is none that a pattern over the whole page may take for a tag's."""
    return not is_strict and i + 1 < n and page[i + 1] | 32 != 105 and page[i + 1] | 32 != 115


@numba.njit(cache=True, nogil=True)
def _says(page, i, n, word, is_any_case):  # type: ignore[no-untyped-def]
    """Whether the word stands at i, before n."""
    if i + len(word) > n:
        return False
    for k in range(len(word)):
        byte = page[i + k]
        if byte != word[k] and not (is_any_case and 65 <= byte <= 90 and byte | 32 == word[k]):
            return False
    return True


@numba.njit(cache=True, nogil=True)
def _after_declaration(page, i, n, is_in_template):  # type: ignore[no-untyped-def]
    """Where the comment, or what counts as one, at i ends; GIVEN_UP where it does not."""
    start = i
    if i + 3 < n and page[i + 1] == 33 and page[i + 2] == 45 and page[i + 3] == 45:
        i += 4
        if i < n and page[i] == 62:
            return i + 1
        if i + 1 < n and page[i] == 45 and page[i + 1] == 62:
            return i + 2
        while i < n:
            if page[i] == 0:
                return GIVEN_UP
            if page[i] == 45 and i + 2 < n and page[i + 1] == 45:
                if page[i + 2] == 62:
                    return i + 3 if _is_harmless(page, start + 4, i, is_in_template) else GIVEN_UP
                if page[i + 2] == 33 and i + 3 < n and page[i + 3] == 62:
                    return i + 4 if _is_harmless(page, start + 4, i, is_in_template) else GIVEN_UP
            i += 1
        return GIVEN_UP
    i += 2
    while i < n and page[i] != 62:
        if page[i] == 0 or page[i] == 60:
            return GIVEN_UP
        i += 1
    return i + 1 if i < n else GIVEN_UP


@numba.njit(cache=True, nogil=True)
def _is_harmless(page, i, end, is_in_template):  # type: ignore[no-untyped-def]
    """Whether bytes without markup hold nothing that html.py's patterns over whole pages take for some.

    Those are a script that is a template, the end of one that is open, and a picture whose tag ends behind these bytes.
    """
    while i < end:
        if page[i] != 60:
            i += 1
        elif is_in_template and _says(page, i + 1, end, _SCRIPT_END, True):
            return False
        elif _says(page, i + 1, end, _IMG, True):
            i += 4
            is_quoted = False
            while i < end and (is_quoted or page[i] != 62):
                if page[i] == 60:
                    return False
                if page[i] == 34 and (is_quoted or page[i - 1] == 61):
                    is_quoted = not is_quoted
                i += 1
            if i == end:
                return False
        elif _says(page, i + 1, end, _SCRIPT_WORD, True):
            i += 7
            while i < end and page[i] != 60 and page[i] != 62:
                if _is_template(page, i, end):
                    return False
                i += 1
        else:
            i += 1
    return True


@numba.njit(cache=True, nogil=True)
def _is_template(page, i, end):  # type: ignore[no-untyped-def]
    """Whether a media type of templates may begin here: text/html, text/x-..., text/ng-template."""
    return _says(page, i, end, _TEXT, True) and i + 5 < end and page[i + 5] | 32 in (104, 110, 120)


@numba.njit(cache=True, nogil=True)
def _after_raw(page, start, name, name_end, i, n, is_in_template, found):  # type: ignore[no-untyped-def]
    """Where the element of which no text is markup ends; its start tag is from start to i. GIVEN_UP: not known."""
    word = page[name:name_end]
    for k in range(start, i):
        if _is_template(page, k, i):
            return GIVEN_UP
    inside, is_escaped = i, False
    while i < n:
        if page[i] == 0:
            return GIVEN_UP
        if page[i] == 60 and i + 1 < n:
            if page[i + 1] == 47:
                end = i + 2 + len(word)
                if end < n and _is_same(page, i + 2, word) and (_is_white(page[end]) or page[end] in (47, 62)):
                    if not _is_harmless(page, inside, i, is_in_template):
                        return GIVEN_UP
                    return _attributes(page, end, n, is_in_template, found)
            elif page[i + 1] == 33:
                is_escaped = True
            elif is_escaped and _says(page, i + 1, n, _SCRIPT_WORD, True):
                return GIVEN_UP  # a script in a comment in a script: its end is not this one's
        i += 1
    return GIVEN_UP


@numba.njit(cache=True, nogil=True)
def _is_same(page, i, word):  # type: ignore[no-untyped-def]
    """Whether the name at i is word, in whatever case both are; word's length fits."""
    k = 0
    while k < len(word) and page[i + k] | 32 == word[k] | 32:
        k += 1
    return k == len(word)


@numba.njit(cache=True, nogil=True)
def _character(page, i, n, is_attribute, entities, codes, factor, out, o):  # type: ignore[no-untyped-def]
    """Write a byte that is looked at, or what an entity stands for; the ends of output and input, -1 for GIVEN_UP."""
    byte = page[i]
    if byte == 13:
        if not (i + 1 < n and page[i + 1] == 10):
            out[o] = 10
            o += 1
        return o, i + 1
    if byte == 0xC2:
        if i + 1 < n and page[i + 1] == 0xA0:
            return _encoded(out, o, 160), i + 2
        out[o] = byte
        return o + 1, i + 1
    if byte != 38:
        return o, GIVEN_UP
    end = i + 1
    if end < n and page[end] == 35:
        end += 1
        base = 10
        if end < n and page[end] | 32 == 120:
            base = 16
            end += 1
        first, code = end, 0
        while end < n and end - first < 8:
            digit = _digit(page[end])
            if digit >= base:
                break
            code = code * base + digit
            end += 1
        if end == first or end >= n or page[end] != 59:
            return o, GIVEN_UP
        if 128 <= code < 160:
            code = _WINDOWS[code - 128]
        if code < 32 and code != 9 and code != 10:
            return o, GIVEN_UP
        if code > 0x10FFFF or 0xD800 <= code < 0xE000 or 127 <= code < 160 or code == 0xFFFD:
            return o, GIVEN_UP
        return _encoded(out, o, code), end + 1
    # The longest name that is one without `;`, and the whole of it.
    key, oldest, oldest_end = np.uint64(0), np.int64(0), i
    while end < n and end - i <= _MAX_NAME and (48 <= page[end] <= 57 or 97 <= page[end] | 32 <= 122):
        if end - i <= 7:
            key |= np.uint64(page[end]) << np.uint64(8 * (end - i - 1))
            code = _code(key, end - i, entities, codes, factor)
            if code >= 1 << 32:
                oldest, oldest_end = code, end + 1
        end += 1
    length = end - i - 1
    if length > 0 and end < n and page[end] == 59:
        code = _code(key, length, entities, codes, factor)
        if length > 7 or code == 0:
            return o, GIVEN_UP
        if code > 0:
            return _encoded(out, o, code & 0xFFFFFFFF), end + 1
    if oldest > 0:
        if is_attribute:
            return o, GIVEN_UP  # there it depends on what follows
        return _encoded(out, o, oldest & 0xFFFFFFFF), oldest_end
    return _encoded(out, o, 38), i + 1


@numba.njit(cache=True, nogil=True)
def _code(key, length, entities, codes, factor):  # type: ignore[no-untyped-def]
    """The code of an entity's name; 0 where it is no single character, -1 where it is none."""
    if length > 7:
        return np.int64(-1)
    key |= np.uint64(length) << np.uint64(56)
    slot = (key * factor) >> np.uint64(52)
    while entities[slot] != 0:
        if entities[slot] == key:
            return codes[slot]
        slot = (slot + np.uint64(1)) & np.uint64(4095)
    return np.int64(-1)


@numba.njit(cache=True, nogil=True)
def _digit(byte):  # type: ignore[no-untyped-def]
    """The value of a hexadecimal digit; 99 of another byte."""
    if 48 <= byte <= 57:
        return np.int64(byte) - 48
    if 97 <= byte | 32 <= 102:
        return np.int64(byte | 32) - 87
    return np.int64(99)


@numba.njit(cache=True, nogil=True)
def _encoded(out, o, code):  # type: ignore[no-untyped-def]
    """Write a character as UTF-8; those that well-formed HTML escapes by their names."""
    if code == 38 or code == 60 or code == 160:
        name = _AMP if code == 38 else _LT if code == 60 else _NBSP
        for k in range(len(name)):
            out[o + k] = name[k]
        return o + len(name)
    if code < 0x80:
        out[o] = code
        return o + 1
    if code < 0x800:
        out[o], out[o + 1] = 0xC0 | code >> 6, 0x80 | code & 63
        return o + 2
    if code < 0x10000:
        out[o], out[o + 1], out[o + 2] = 0xE0 | code >> 12, 0x80 | code >> 6 & 63, 0x80 | code & 63
        return o + 3
    out[o], out[o + 1], out[o + 2], out[o + 3] = (
        0xF0 | code >> 18, 0x80 | code >> 12 & 63, 0x80 | code >> 6 & 63, 0x80 | code & 63,
    )  # fmt: skip
    return o + 4
