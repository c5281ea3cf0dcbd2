"""Extend a byte-level BPE tokenizer with pieces learnt on new text; no old piece changes its id or its place.

Merge learning goes on where it ended: the text is cut by the old tokenizer, and pairs of its pieces are merged by the
same rule as before. New merges stand behind the old ones, so a text is cut as before and then more coarsely, never
otherwise (continued BPE training: Purason et al. 2025, arXiv:2512.03989). The library learns the merges: each old
piece is written as one character of its own, and what is learnt over these characters is read back as pieces. Costs
one pass of the tokenizer over the text.
"""

import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

from ingot.errors import DataError

_FIRST_LETTER = 0x10000
"""Characters from here on stand for old pieces: none is a blank, so that words can be written with blanks between."""
_MOST_PIECES = 0x110000 - _FIRST_LETTER
_BATCH = 64


def extended(tokenizer_json: bytes, texts: Iterable[str], *, add: int) -> bytes:
    """The tokenizer.json with up to `add` new pieces learnt on the texts, fewer when the texts hold no more pairs.

    New ids follow the largest old one, in the order they were learnt. Raises DataError for a tokenizer that is no
    byte-level BPE, and when not one new piece can be learnt.
    """
    values = _byte_level(tokenizer_json)
    old: dict[str, int] = values["model"]["vocab"]
    added = {token["content"]: int(token["id"]) for token in values.get("added_tokens", [])}
    by_id = {index: piece for piece, index in old.items() if piece not in added}
    # Older files write a merge as one string.
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in values["model"]["merges"]]
    first_new = 1 + max(*old.values(), *added.values(), -1)
    new: dict[str, int] = {}
    for left, right in _learnt(tokenizer_json, by_id, texts, add=add):
        piece = left + right
        if piece not in old and piece not in added:
            new.setdefault(piece, first_new + len(new))
        merges.append((left, right))
    if not new:
        raise DataError(
            "tokenizer.extend: the corpus holds no pair of pieces to merge; add text, or take the tokenizer over with "
            "tokenizer.from"
        )
    values["model"]["vocab"] = {**old, **new}
    values["model"]["merges"] = [list(merge) for merge in merges]
    return json.dumps(values, ensure_ascii=False).encode()


def _byte_level(tokenizer_json: bytes) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(tokenizer_json)
    model = values.get("model") or {}
    cut = json.dumps(values.get("pre_tokenizer"))
    plain = not any(model.get(name) for name in ("continuing_subword_prefix", "end_of_word_suffix", "dropout"))
    if model.get("type") != "BPE" or '"ByteLevel"' not in cut or not plain:
        raise DataError(
            f"tokenizer.extend: this tokenizer is {model.get('type') or 'of no known kind'}, cut by {cut[:80]}; only "
            "byte-level BPE can be extended, take others over with tokenizer.from"
        )
    return values


def _learnt(
    tokenizer_json: bytes, by_id: dict[int, str], texts: Iterable[str], *, add: int
) -> Iterator[tuple[str, str]]:
    """New merges in the order they were learnt, over old and new pieces."""
    import tokenizers
    from tokenizers import models, pre_tokenizers, trainers

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if len(by_id) > _MOST_PIECES:
        raise DataError(f"tokenizer.extend: {len(by_id):,} pieces are more than {_MOST_PIECES:,}; extend a smaller one")
    letters = {index: chr(_FIRST_LETTER + place) for place, index in enumerate(sorted(by_id))}
    pieces = {letter: by_id[index] for index, letter in letters.items()}
    learner = tokenizers.Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=len(letters) + add, initial_alphabet=sorted(pieces), show_progress=False, min_frequency=2
    )
    learner.train_from_iterator(_words(tokenizer_json, letters, texts), trainer)
    for left, right in json.loads(learner.to_str())["model"]["merges"]:
        yield "".join(pieces[letter] for letter in left), "".join(pieces[letter] for letter in right)


def _words(tokenizer_json: bytes, letters: dict[int, str], texts: Iterable[str]) -> Iterator[str]:
    """Each text as words of letters, one letter an old piece; a token that is no piece ends a word."""
    from tokenizers import Tokenizer

    cutter = Tokenizer.from_str(tokenizer_json.decode())
    cutter.encode_special_tokens = True
    cutter.no_truncation()
    cutter.no_padding()
    for encoding in _encoded(cutter, texts):
        written: list[str] = []
        last = None
        for index, word in zip(encoding.ids, encoding.word_ids, strict=True):
            if word != last:
                written.append(" ")
            written.append(letters.get(index, " "))
            last = word
        yield "".join(written)


def _encoded(cutter: Any, texts: Iterable[str]) -> Iterator[Any]:
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == _BATCH:
            yield from cutter.encode_batch(batch, add_special_tokens=False)
            batch = []
    yield from cutter.encode_batch(batch, add_special_tokens=False)
