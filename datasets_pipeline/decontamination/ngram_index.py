"""The n-grams of evaluation items, and the search for them in documents.

A *piece* is a text of an item (its question, its answer) or all of them in a row; a *gram* is a run of n tokens of a
piece, or a whole piece that is shorter. Grams are looked up by a 64-bit hash and compared by their characters: a
collision of hashes finds nothing. Memory: about 60 bytes a gram and 8 a character of the items.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from datasets_pipeline.decontamination.characters import MOST_CODES, character_tables
from datasets_pipeline.decontamination.evaluation_files import Item

_ROOM = 1 << 16
# 16 bits a gram: one look in sixteen goes on to the table.
_BITS_PER_GRAM = 16


@dataclass(frozen=True)
class Found:
    """What was found of evaluation items in one document; the arrays are aligned, in order of the items."""

    items: np.ndarray
    """int64: positions in the list that the index was made from."""
    found: np.ndarray
    """int64: distinct grams of the item's best piece that stand in the document."""
    totals: np.ndarray
    """int64: distinct grams of that piece."""
    grams: np.ndarray
    """int32: the grams themselves, for `NgramIndex.spans`."""
    num_hits: int
    """Places at which a gram ends."""


class NgramIndex:
    """Grams of all items of all benchmarks, searched together; `benchmarks` are lists of items."""

    def __init__(self, benchmarks: Sequence[Sequence[Item]], *, n: int, min_words: int, max_items: int | None) -> None:
        """n: tokens of a gram. min_words: tokens from which a shorter piece is matched whole.

        max_items: a gram that stands in more items of its benchmark is boilerplate and no gram of them; None: never.
        """
        from datasets_pipeline.decontamination import kernels

        self._kernels: Any = kernels
        self._table, self._many = character_tables()
        self._n, self._shortest = n, min_words
        items = [item for benchmark in benchmarks for item in benchmark]
        self._tokenize(items)
        self._collect(items, [len(benchmark) for benchmark in benchmarks], max_items)
        self._hash()

    @property
    def is_searchable(self) -> np.ndarray:
        """bool [num items]: whether an item has any gram; what is too short or has numbers only has none."""
        found = np.zeros(self._num_items, bool)
        found[self._piece_item[self._totals > 0]] = True
        return found

    @property
    def num_grams(self) -> int:
        """Distinct grams that are searched."""
        return int(self._wanted.sum())

    def _tokenize(self, items: Sequence[Item]) -> None:
        texts = [text.encode() for item in items for text in item]
        data = np.frombuffer(b"".join(texts) or b"\0", np.uint8)
        num_bytes = sum(map(len, texts))
        codes = np.empty(2 * num_bytes + MOST_CODES, np.uint32)
        code_offsets = np.zeros(num_bytes + 2, np.int64)
        hashes, letters = np.empty(num_bytes + 1, np.uint64), np.zeros(num_bytes + 1, bool)
        ends, num, position = [0], 0, 0
        for text in texts:
            num = self._kernels.tokenize(
                data, position, position + len(text), self._table, self._many, codes, code_offsets, hashes, letters, num
            )
            position += len(text)
            ends.append(num)
        self._hashes, self._letters = hashes[:num].copy(), letters[:num].copy()
        self._code_offsets = code_offsets[: num + 1].copy()
        self._codes = codes[: self._code_offsets[-1]].copy()
        self._text_ends = ends

    def _collect(self, items: Sequence[Item], num_items: Sequence[int], max_items: int | None) -> None:
        kernels, n = self._kernels, self._n
        pieces: list[tuple[int, int, int]] = []
        first_pieces = [0]
        text, item_number = 0, 0
        for num in num_items:
            for item in items[item_number : item_number + num]:
                ends = self._text_ends[text : text + len(item) + 1]
                pieces += [(item_number, a, b) for a, b in zip(ends, ends[1:], strict=False)]
                if len(item) > 1:
                    pieces.append((item_number, ends[0], ends[-1]))
                text += len(item)
                item_number += 1
            first_pieces.append(len(pieces))
        self._num_items = item_number
        table = np.array(pieces, np.int64).reshape(-1, 3)
        owner, first, end = (np.ascontiguousarray(table[:, column]) for column in range(3))
        most_grams = len(self._hashes) + len(pieces) + 1
        gram_first, gram_length = np.empty(most_grams, np.int64), np.empty(most_grams, np.int32)
        gram_at = np.full(len(self._hashes), -1, np.int32)
        gram_of_piece = np.full(len(pieces), -1, np.int32)
        num = kernels.collect_grams(
            first, end, n, self._shortest, self._hashes, self._letters, self._codes, self._code_offsets,
            np.full(_power_of_two(2 * most_grams), -1, np.int32), gram_first, gram_length, 0, gram_at, gram_of_piece,
        )  # fmt: skip
        self._gram_first, self._gram_length = gram_first[:num].copy(), gram_length[:num].copy()
        self._piece_item, self._totals = owner, np.zeros(len(pieces), np.int64)
        grams, owners = [np.empty(0, np.int32)], [np.empty(0, np.int64)]
        for a, b in zip(first_pieces, first_pieces[1:], strict=False):
            counts = np.zeros(num, np.int64)
            kernels.count_items(first, end, owner, a, b, n, gram_at, gram_of_piece, np.full(num, -1, np.int64), counts)
            room = int(np.maximum(end[a:b] - first[a:b] - n + 1, 0).sum()) + b - a
            of_gram, of_piece = np.empty(room, np.int32), np.empty(room, np.int64)
            most = np.iinfo(np.int64).max if max_items is None else max_items
            written = kernels.list_postings(
                first, end, a, b, n, gram_at, gram_of_piece, counts, most, np.full(num, -1, np.int64), self._totals,
                of_gram, of_piece,
            )  # fmt: skip
            grams.append(of_gram[:written])
            owners.append(of_piece[:written])
        of_gram = np.concatenate(grams)
        order = np.argsort(of_gram, kind="stable")
        self._pieces = np.concatenate(owners)[order]
        self._posting_offsets = np.searchsorted(of_gram[order], np.arange(num + 1))
        self._wanted = (np.diff(self._posting_offsets) > 0).astype(np.uint8)

    def _hash(self) -> None:
        size = _power_of_two(2 * len(self._gram_first) + 2)
        num_bits = _power_of_two(max(_BITS_PER_GRAM * len(self._gram_first), 1 << 12))
        self._slots = np.full(size, -1, np.int32)
        self._keys = np.zeros(size, np.uint64)
        self._bits = np.zeros(num_bits // 8, np.uint8)
        self._bits_shift = np.uint64(64 - (num_bits.bit_length() - 1))
        self._kernels.fill_table(
            self._gram_first, self._gram_length, self._n, self._shortest, self._hashes, self._keys, self._slots,
            self._bits, self._bits_shift,
        )  # fmt: skip
        longest = int(np.diff(self._code_offsets).max(initial=0))
        self._buffer_size = longest + 1

    def search(self, data: np.ndarray, offsets: np.ndarray) -> dict[int, Found]:
        """What was found by document, for those in which anything was.

        data: UTF-8 bytes; offsets int64 [num documents + 1] into it.
        """
        num_documents = len(offsets) - 1
        found_offsets, hits = np.zeros(num_documents + 1, np.int64), np.zeros(num_documents, np.int64)
        seen = np.full(len(self._gram_first), -1, np.int64)
        # All grams at the least, so that any document fits behind those that filled it.
        grams = np.empty(max(len(self._gram_first), _ROOM), np.int32)
        found: dict[int, Found] = {}
        document = 0
        while document < num_documents:
            first = document
            document = self._kernels.scan_documents(
                data, offsets, first, *self._searched(), self._wanted, seen, grams, found_offsets, hits,
                np.empty(self._buffer_size, np.uint32),
            )  # fmt: skip
            for row in (first + np.flatnonzero(hits[first:document])).tolist():
                own = grams[found_offsets[row] : found_offsets[row + 1]].copy()
                found[row] = Found(*self._items_of(own), own, int(hits[row]))
            seen.fill(-1)  # the document that did not fit is looked at again
        return found

    def spans(self, data: np.ndarray, start: int, end: int, found: Found, items: np.ndarray) -> np.ndarray:
        """int64 [num, 2]: what the grams of these items cover of data[start:end], from start, sorted, apart."""
        postings, owner = self._postings_of(found.grams)
        wanted = np.zeros(len(self._gram_first), np.uint8)
        wanted[found.grams[owner[np.isin(self._piece_item[postings], items)]]] = 1
        starts, ends = np.empty(found.num_hits, np.int64), np.empty(found.num_hits, np.int64)
        num = self._kernels.scan_spans(
            data, start, end, *self._searched(), wanted, starts, ends, np.empty(self._buffer_size, np.uint32)
        )
        return np.stack([starts[:num], ends[:num]], axis=1) - start

    def _searched(self) -> tuple[Any, ...]:
        """What both kernels take, in their order."""
        return (
            self._table, self._many, self._n, self._shortest, self._keys, self._slots, self._bits, self._bits_shift,
            self._gram_first, self._gram_length, self._codes, self._code_offsets,
        )  # fmt: skip

    def _items_of(self, grams: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(items, found, totals) as in `Found`."""
        postings, _ = self._postings_of(grams)
        pieces, found = np.unique(postings, return_counts=True)
        items, totals = self._piece_item[pieces], self._totals[pieces]
        # The piece with the largest share speaks for its item; of equal ones the larger.
        order = np.lexsort((-totals, -(found / totals), items))
        first = np.ones(len(order), bool)
        first[1:] = items[order][1:] != items[order][:-1]
        best = order[first]
        return items[best], found[best], totals[best]

    def _postings_of(self, grams: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(pieces, for each of them the position of its gram)."""
        starts = self._posting_offsets[grams]
        counts = self._posting_offsets[grams + 1] - starts
        owner = np.repeat(np.arange(len(grams)), counts)
        places = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        return self._pieces[starts[owner] + places], owner


def utf8_buffers(column: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """(bytes uint8, offsets int64 [n + 1]) of a column of texts without nulls."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    array = array.cast(pa.large_string())
    _, offsets, data = array.buffers()
    if len(array) == 0 or data is None:
        return np.zeros(1, np.uint8), np.zeros(len(array) + 1, np.int64)
    bounds = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    return np.frombuffer(data, np.uint8), bounds


def _power_of_two(at_least: int) -> int:
    return 1 << max(at_least - 1, 1).bit_length()
