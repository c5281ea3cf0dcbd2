"""What a code point means to the counting kernels: one bit mask per code point, built once a process.

The table (2**18 entries of 4 bytes; planes above hold nothing that counts) comes from Python's Unicode
database and from the character lists below. The database differs between Python releases, so the
table's digest is part of the fingerprint (`language.model_digests`). Building it takes about 0.2 s.

Two kinds of lists stand here. `SYMBOLS` and `TERMINAL_PUNCTUATION` are the definitions that datatrove's
published filters use (Apache-2.0, Hugging Face), needed to reach the same verdicts. The affix classes
describe where an English spaCy tokenizer would split a word; see chunk_kernels.py.
"""

import unicodedata
from functools import lru_cache

import numpy as np
import numpy.typing as npt

TABLE_SIZE = 1 << 18
LOWER_CASE_SIZE = 0x2000

SPACE = 1 << 0  # str.isspace
LETTER = 1 << 1  # str.isalpha
DIGIT = 1 << 2  # category Nd
UPPERCASE = 1 << 3  # str.isupper
SYMBOL = 1 << 4  # datatrove's punctuation: a word of these alone is not counted as a word
TERMINAL = 1 << 5  # ends a sentence, by datatrove's list
LINE_BREAK = 1 << 6  # ends a line for str.splitlines
OPENS = 1 << 7  # split off at the start of a word
CLOSES = 1 << 8  # split off at the end of a word
ICON = 1 << 9  # category So: a word of its own wherever it stands
QUOTE = 1 << 10
LOWER_SIDE = 1 << 11  # a letter that is not upper case: may stand before a full stop that ends a sentence
UPPER_SIDE = 1 << 12  # a letter that is not lower case
BEFORE_STOP = 1 << 13  # a final '.' after one of these is a word of its own
CURRENCY = 1 << 14  # split off after a digit
HYPHEN = 1 << 15  # splits a word between letters
SINGLE = 1 << 16  # a letter of a script written without spaces: a word of its own
MARK = 1 << 17  # combining mark: stays with what it follows
PLAIN = 1 << 18  # never the reason for a split: letters, digits, marks
ASCII_DIGIT = 1 << 19
URL_HOST = 1 << 20  # may stand in a host name
NUMBER = 1 << 21  # category N: decimal digits, fractions, circled and Roman numbers
TRIGGER = 1 << 22  # `.`, `:`, `<`, `#`: a run of characters that holds one is looked at more closely
INFIX = 1 << 23  # may split a word in its middle

LINE_BREAKS = "\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029"

SYMBOLS = (
    "".join(map(chr, [*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0)]))
    + "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
    + "«´»–—’“”„…∶►、。〈〉《》「」【】！％（），．１：；？～━"
)
TERMINAL_PUNCTUATION = (
    "!.?։؝؞؟۔܀܁܂߹࠷࠹࠽࠾।॥၊။።፧፨᙮᜵᜶។៕៖៙៚᠃᠉᥄᥅᪨᪩᪪᪫᭚᭛᭞᭟᭽᭾᰻᰼᱾᱿‼‽⁇⁈⁉⸮⸼⹓⹔。"
    "꓿꘎꘏꛳꛷꡶꡷꣎꣏꤯꧈꧉꩝꩞꩟꫰꫱꯫﹒﹖﹗！．？｡𐩖𐩗𐽕𐽖𐽗𐽘𐽙𐾆𐾇𐾈𐾉𑁇𑁈𑂾𑂿𑃀𑃁𑅁𑅂𑅃𑇅𑇆𑇍𑇞𑇟𑈸𑈹𑈻𑈼𑊩𑑋𑑌"
    "𑗂𑗃𑗉𑗊𑗋𑗌𑗍𑗎𑗏𑗐𑗑𑗒𑗓𑗔𑗕𑗖𑗗𑙁𑙂𑜼𑜽𑜾𑥄𑥆𑩂𑩃𑪛𑪜𑱁𑱂𑻷𑻸𑽃𑽄𖩮𖩯𖫵𖬷𖬸𖭄𖺘𛲟𝪈"
)

# Where spaCy's tokenizer splits: facts about its behaviour, regrouped.
_PUNCTUATION = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"
_QUOTES = "'\"”“`‘´’‚„»«「」『』（）〔〕【】《》〈〉\u2329\u232a⟦⟧"
_CURRENCIES = "$£€¥฿﷼₽₴" + "".join(map(chr, range(0x20A0, 0x20C0)))
_DASHES = "—–"
_OPENING_EXTRA = "§%=" + _DASHES
_HYPHENS = "-~" + _DASHES

# Scripts written without spaces between words (Unicode blocks). Korean is absent: it uses spaces.
_NO_SPACE_BLOCKS = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),
    (0x3040, 0x312F),  # kana, Bopomofo
    (0x31A0, 0x31BF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0xA4CF),  # CJK, Yi
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9D),  # half-width kana
    (0x1B000, 0x1B16F),
    (0x20000, 0x323AF),
)


def _class_of(code: int) -> int:
    character = chr(code)
    category = unicodedata.category(character)
    mask = 0
    if character.isspace():
        mask |= SPACE
    if character.isalpha():
        mask |= LETTER | PLAIN
        mask |= 0 if character.isupper() else LOWER_SIDE | BEFORE_STOP
        mask |= 0 if character.islower() else UPPER_SIDE
    if character.isupper():
        mask |= UPPERCASE
    if category == "Nd":
        mask |= DIGIT
    if category[0] == "N":
        mask |= PLAIN | NUMBER
    if category[0] == "M":
        mask |= MARK | PLAIN
    if category == "So":
        mask |= ICON | OPENS | CLOSES | INFIX
    if 0xA1 <= code <= 0xFFFF or (code < 128 and (character.isalnum() or character in "_-")):
        mask |= URL_HOST
    return mask


@lru_cache(maxsize=1)
def character_classes() -> npt.NDArray[np.uint32]:
    """Bit mask of every code point below TABLE_SIZE; code points above count as 0 (no class)."""
    table = np.fromiter((_class_of(code) for code in range(TABLE_SIZE)), dtype=np.uint32, count=TABLE_SIZE)

    def add(characters: str, bits: int) -> None:
        table[np.array([ord(c) for c in characters])] |= np.uint32(bits)

    add(SYMBOLS + TERMINAL_PUNCTUATION, SYMBOL)
    add(TERMINAL_PUNCTUATION, TERMINAL)
    add(LINE_BREAKS, LINE_BREAK)
    add(_PUNCTUATION, OPENS | CLOSES | BEFORE_STOP)
    add(_QUOTES, OPENS | CLOSES | QUOTE | BEFORE_STOP)
    add(_CURRENCIES, OPENS | CURRENCY)
    add(_OPENING_EXTRA, OPENS)
    add(_DASHES, CLOSES)
    add(_HYPHENS, HYPHEN)
    add("0123456789", ASCII_DIGIT | BEFORE_STOP)
    add("%²-+|", BEFORE_STOP)
    add(".:<#", TRIGGER)
    add(".…+*^,:<>=/" + _HYPHENS, INFIX)
    for first, last in _NO_SPACE_BLOCKS:
        block = table[first : last + 1]
        block[(block & LETTER) != 0] |= np.uint32(SINGLE)
    table.setflags(write=False)
    return table


@lru_cache(maxsize=1)
def lower_case_table() -> npt.NDArray[np.uint16]:
    """Lower case of the code points below U+2000 (Latin, Greek, Cyrillic); itself where it is longer.

    Enough for the stop-word lists: no listed language has letters above.
    """
    lowered = [chr(code).lower() for code in range(LOWER_CASE_SIZE)]
    table = np.array(
        [ord(low) if len(low) == 1 and ord(low) < LOWER_CASE_SIZE else code for code, low in enumerate(lowered)],
        dtype=np.uint16,
    )
    table.setflags(write=False)
    return table
