"""Baselines a language model has to beat, measured on the very documents it was measured on.

Each gives the cost in nats of each held-out document, given the start of a document, and sees of the
training text only the sample it is handed (`evaluation.training_sample`). All work on UTF-8 bytes.

    unigram     frequency of each byte in the sample, plus one (Laplace)
    ngram       byte n-gram, interpolated Kneser-Ney with one discount an order; see `ngram_nats`
    xz          LZMA2 preset 6 of the document alone: no training text, no container header
    xz_trained  LZMA2 preset 6 of the document after the training sample: what it adds to the stream

numpy and lzma. On one core the n-gram takes about 0.3 s per MiB of sample and 50 bytes of memory per byte,
xz_trained 0.6 s per MiB and 30 ms per document; the others next to nothing.
"""

import lzma
import math
import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ingot.errors import DataError

# 0xFF cannot stand in UTF-8, so a run of it before each document means "start of document" and nothing else.
_START = 0xFF
_LARGEST_WINDOW_BYTES = 64 << 20
_XZ_TIMEOUT_SECONDS = 900


def unigram_nats(training: Sequence[bytes], documents: Sequence[bytes]) -> list[float]:
    """Cost of each document under byte frequencies of the training text, each count raised by one."""
    counts = np.bincount(np.frombuffer(b"".join(training), np.uint8), minlength=256).astype(np.float64) + 1.0
    nats = math.log(counts.sum()) - np.log(counts)
    return [float(np.bincount(np.frombuffer(document, np.uint8), minlength=256) @ nats) for document in documents]


def ngram_nats(training: Sequence[bytes], documents: Sequence[bytes], *, order: int) -> list[float]:
    """Cost of each document under an interpolated Kneser-Ney byte model with contexts of 0 .. order - 1 bytes.

    P_k(b | c) = (max(N(c b) - D, 0) + D T(c) P_{k-1}(b | c')) / N(c), where c is the context of k bytes, c' the
    same without its oldest byte, and P_{-1} = 1/256; a context never seen leaves P_{k-1} as it is.
    N(c b) counts occurrences in the training text for the longest context, and for shorter ones the
    different bytes seen before `c b`; N(c) sums it over b, T(c) is the number of different b. The discount
    D = n1 / (n1 + 2 n2) is one per order, with n1 and n2 the number of N equal to 1 and 2, kept within
    0.1 .. 0.95. (Kneser and Ney 1995; Chen and Goodman 1999, section 2.7.) Contexts reach over the start of
    a document as into a run of start symbols, never into another document. `order` is 1 .. 8.
    """
    if not 1 <= order <= 8:
        raise DataError(f"ngram_nats: order={order}; choose 1 to 8 bytes")
    seen, seen_at, _ = _padded(training, order)
    asked, asked_at, lengths = _padded(documents, order)
    probability = np.full(len(asked_at), 1.0 / 256)
    if len(seen_at):
        codes = seen[seen_at].astype(np.uint64)
        asked_codes = asked[asked_at].astype(np.uint64)
        for k in range(order):
            # The code of a (k+1)-gram: the predicted byte lowest, the oldest byte of the context highest.
            if k + 1 < order:
                shift = np.uint64(8 * (k + 1))
                codes |= seen[seen_at - (k + 1)].astype(np.uint64) << shift
                longer, _ = _counted(codes)
                grams, counts = _counted(longer & ((np.uint64(1) << shift) - np.uint64(1)))
            else:
                grams, counts = _counted(codes)
            probability = _interpolated(grams, counts, asked_codes, probability)
            if k + 1 < order:
                asked_codes |= asked[asked_at - (k + 1)].astype(np.uint64) << shift
    ends = np.cumsum(lengths)
    costs = -np.log(probability)
    return [float(costs[end - length : end].sum()) for end, length in zip(ends, lengths, strict=True)]


def xz_nats(documents: Sequence[bytes]) -> list[float]:
    """Cost of each document as a raw LZMA2 stream of its own."""
    return [_nats(_xz_size(document)) for document in documents]


def xz_together_nats(documents: Sequence[bytes]) -> float:
    """Cost of all documents as one raw LZMA2 stream: each may refer to those before it."""
    return _nats(_xz_size(b"".join(documents)))


def xz_trained_nats(training: Sequence[bytes], documents: Sequence[bytes]) -> list[float] | None:
    """Cost that each document adds to the LZMA2 stream of the training text, each on its own.

    Needs `fork` (a child process copies the encoder's state for each document, evaluation/xz_child.py);
    None where there is none. The whole training text is inside the window.
    """
    if not hasattr(os, "fork"):
        return None
    prefix = b"".join(training)
    window = _window_bytes(len(prefix) + max(map(len, documents), default=0))
    prefix = prefix[-window:]
    request = struct.pack("<QQQ", window, len(prefix), len(documents)) + prefix
    request += b"".join(struct.pack("<Q", len(document)) + document for document in documents)
    # -I: the child must not take this folder's statistics.py for the standard library's. It is stdlib
    # only and has one thread, so forking it is safe, which forking a process with torch in it is not.
    child = subprocess.run(
        [sys.executable, "-I", str(Path(__file__).with_name("xz_child.py"))],
        input=request,
        capture_output=True,
        timeout=_XZ_TIMEOUT_SECONDS,
        env={},
        check=False,
    )
    if child.returncode != 0 or len(child.stdout) != 8 * len(documents):
        raise DataError(
            f"the xz baseline's child process ended with status {child.returncode} after "
            f"{len(child.stdout) // 8} of {len(documents)} documents; is there too little memory (needs "
            "about "
            f"{12 * window >> 20} MiB)? Leave 'xz_trained' out of the baselines otherwise"
        )
    return [_nats(size) for size in struct.unpack(f"<{len(documents)}Q", child.stdout)]


def _counted(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different codes in ascending order, and how often each one comes."""
    ordered = np.sort(codes)
    first = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return ordered[first], np.diff(np.append(first, len(ordered)))


def _interpolated(grams: np.ndarray, counts: np.ndarray, asked: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """One order of the recursion: P_k of the `asked` codes, of which `lower` is P_{k-1}."""
    owners = grams >> np.uint64(8)
    group = np.flatnonzero(np.concatenate(([True], owners[1:] != owners[:-1])))
    contexts = owners[group]
    num_followers = np.diff(np.append(group, len(grams)))
    totals = np.add.reduceat(counts, group)
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    # The lower end keeps every byte possible, also where nothing in the training text came only once.
    discount = min(0.95, max(0.1, once / (once + 2 * twice))) if once else 0.1

    asked_contexts = asked >> np.uint64(8)
    at = np.minimum(np.searchsorted(contexts, asked_contexts), len(contexts) - 1)
    known = contexts[at] == asked_contexts
    gram_at = np.minimum(np.searchsorted(grams, asked), len(grams) - 1)
    count = np.where(grams[gram_at] == asked, counts[gram_at], 0)
    mixed = (np.maximum(count - discount, 0.0) + discount * num_followers[at] * lower) / totals[at]
    return np.where(known, mixed, lower)


def _padded(texts: Sequence[bytes], order: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """All texts in one buffer, each after a run of start symbols; where their bytes stand; their lengths."""
    start = bytes([_START]) * max(1, order - 1)
    buffer = np.frombuffer(b"".join(start + text for text in texts), np.uint8)
    lengths = [len(text) for text in texts]
    shift = np.repeat((np.arange(len(texts)) + 1) * len(start), lengths)
    return buffer, np.arange(sum(lengths)) + shift, lengths


def _xz_size(data: bytes) -> int:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": _window_bytes(len(data))}]
    return len(lzma.compress(data, lzma.FORMAT_RAW, filters=filters))


def _window_bytes(needed: int) -> int:
    """A window that holds everything, up to 64 MiB (the encoder takes about 12 times as much memory)."""
    return int(min(_LARGEST_WINDOW_BYTES, max(4096, 1 << max(0, needed - 1).bit_length())))


def _nats(num_bytes: int) -> float:
    return num_bytes * math.log(256)
