"""The word segmentation of chunk_kernels.py written a second time, in plain Python with regular expressions.

Slow and simple on purpose: the compiled kernel must agree with it word for word, and it serves datatrove's
filters as word tokenizer, so that their formulas and ours are compared on the same words.
"""

import re
import unicodedata
from functools import lru_cache

_PUNCTUATION = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"
_QUOTES = "'\"”“`‘´’‚„»«「」『』（）〔〕【】《》〈〉\u2329\u232a⟦⟧"
_CURRENCIES = "$£€¥฿﷼₽₴" + "".join(map(chr, range(0x20A0, 0x20C0)))
_UNIT = re.compile(
    r"[0-9](km|m|dm|cm|mm|ha|nm|yd|in|ft|kg|g|mg|t|lb|oz|kmh|mph|hPa|Pa|mb|MB|kb|KB|gb|GB|tb|TB|T|G|M|K)$"
)
_NO_SPACES = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u312f\u31a0-\u31bf\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\ua4cf\uf900-\ufaff\uff66-\uff9d\U0001b000-\U0001b16f\U00020000-\U000323af]"
)
_ABBREVIATION = re.compile(r"(?:[A-Za-z]\.){1,8}")
_HOST = re.compile(r"(?:[A-Za-z0-9_\-\u00a1-\uffff]+\.)+[A-Za-z0-9_\-\u00a1-\uffff]+")
_CLITIC = re.compile(r"(?:n['’]t|['’](?:ll|ve|re|d|m))$")


def _icon(c: str) -> bool:
    return unicodedata.category(c) == "So"


def _lower_side(c: str) -> bool:
    return c.isalpha() and not c.isupper()


def _upper_side(c: str) -> bool:
    return c.isalpha() and not c.islower()


def _digit(c: str) -> bool:
    return c.isascii() and c.isdigit()


def _prefix(s: str) -> int:
    if s[0] in _PUNCTUATION + _QUOTES + _CURRENCIES + "§%=—–" or _icon(s[0]):
        return 1
    if s.startswith(".."):
        return len(s) - len(s.lstrip("."))
    return int(s[0] == "+" and not (len(s) > 1 and _digit(s[1])))


def _suffix(s: str) -> int:
    last, before = s[-1], s[-2:-1]
    if s[-2:] in ("'s", "'S", "’s", "’S"):
        return 2
    if last in _PUNCTUATION + _QUOTES + "—–" or _icon(last):
        return 1
    if s.endswith(".."):
        return len(s) - len(s.rstrip("."))
    if last == ".":
        if not before:
            return 0
        if _digit(before) or _lower_side(before) or before in "%²-+|" + _PUNCTUATION + _QUOTES:
            return 1
        return int(len(s) > 2 and _upper_side(before) and _upper_side(s[-3]))
    if before and _digit(before) and last in "+%" + _CURRENCIES:
        return 1
    unit = _UNIT.search(s)
    return len(unit.group(1)) if unit else 0


def _host_and_path(s: str) -> bool:
    host = _HOST.match(s)
    if not host:
        return False
    labels = host.group().split(".")
    if any(len(x) > 64 or x[0] in "-_" or x[-1] in "-_" for x in labels[:-1]):
        return False
    top = labels[-1]
    is_number = len(labels) == 4 and all(_digit(c) for c in "".join(labels)) and len(top) <= 3
    if not is_number and not (2 <= len(top) <= 63 and all(_lower_side(c) for c in top)):
        return False
    return re.fullmatch(r"(?::[0-9]{2,5})?(?:[/?#].*)?", s[host.end() :], re.DOTALL) is not None


def _is_web_address(s: str) -> bool:
    scheme = 0
    while scheme < len(s) and (s[scheme].isalpha() or _digit(s[scheme]) or s[scheme] in "+-._"):
        scheme += 1
    has_scheme = scheme >= 2 and s[scheme : scheme + 3] == "://"
    if _host_and_path(s[scheme + 3 :] if has_scheme else s):
        return True
    return any(c == "@" and _host_and_path(s[k + 1 :]) for k, c in enumerate(s) if k)


def _separator(s: str, at: int) -> int:
    c, before, after = s[at], s[at - 1], s[at + 1 : at + 2]
    if s.startswith("..", at):
        return len(s[at:]) - len(s[at:].lstrip("."))
    if c == "…" or _icon(c):
        return 1
    if not after:
        return 0
    if _digit(before) and (_digit(after) or after == "-") and c in "+-*^":
        return 1
    if c == "." and (_lower_side(before) or before in _QUOTES) and (_upper_side(after) or after in _QUOTES):
        return 1
    if c == "," and before.isalpha() and after.isalpha():
        return 1
    if before.isalpha() or _digit(before):
        hyphen = re.compile("-{1,3}|—{1,2}|[–~]").match(s, at)
        if hyphen and s[hyphen.end() : hyphen.end() + 1].isalpha():
            return hyphen.end() - at
        if after.isalpha() and c in ":<>=/":
            return 1
    return 0


def _letters_apart(s: str) -> list[str]:
    out: list[str] = []
    in_single = False
    for c in s:
        is_single = c.isalpha() and _NO_SPACES.match(c) is not None
        is_mark = unicodedata.category(c)[0] == "M"
        if out and not is_single and (is_mark or not in_single):
            out[-1] += c
        else:
            out.append(c)
            in_single = is_single
    return out


def _middle(s: str) -> list[str]:
    if _ABBREVIATION.fullmatch(s) or _is_web_address(s):
        return _letters_apart(s)
    clitic = _CLITIC.search(s)
    stem = s
    if clitic and clitic.start() > 0 and s[clitic.start() - 1].isalpha():
        stem = s[: clitic.start()]
    out, piece, at = [], 0, 1
    while at < len(stem):
        length = _separator(stem, at)
        if not length:
            at += 1
            continue
        out += _letters_apart(stem[piece:at]) if at > piece else []
        out.append(stem[at : at + length])
        at = piece = at + length
    out += _letters_apart(stem[piece:]) if piece < len(stem) else []
    return out + ([s[len(stem) :]] if len(stem) < len(s) else [])


@lru_cache(maxsize=200_000)
def _chunk_words(s: str) -> tuple[str, ...]:
    words: list[str] = []
    suffixes: list[str] = []
    while s and not _ABBREVIATION.fullmatch(s):
        prefix = _prefix(s)
        words += [s[:prefix]] if prefix else []
        s = s[prefix:]
        if not s or (prefix and _ABBREVIATION.fullmatch(s)):
            break
        suffix = _suffix(s)
        if suffix:
            suffixes.append(s[-suffix:])
            s = s[:-suffix]
        if not prefix and not suffix:
            break
    return (*words, *(_middle(s) if s else []), *reversed(suffixes))


def reference_words(text: str) -> list[str]:
    """The words of a text, in order."""
    return [word for chunk in text.split() for word in _chunk_words(chunk)]
