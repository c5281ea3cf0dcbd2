"""Bits per byte of held-out text while a model trains: of the same documents at every look.

# B rows, T tokens of a window, W windows

The documents are those with the smallest doc_ids of what a corpus version held out (a doc_id is a hash, so this is a
stable random choice), the beginning of each, one after the other with the end token behind it, cut into windows as
training cuts its text. So the number lies a little above that of the held-out suite, which shows a document its whole
context, and is for the curve. It is of plain text, also in the stage `infill`. Draws no random number and changes no
weight. A look costs a third of training on as many tokens; ten of them about 2 % of a run, less of a long one.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ingot import manifest
from ingot.errors import NotFoundError
from ingot.parquet import read_table
from ingot.refs import TokensRef, parts_of
from ingot.storage import Store
from training.job import HELDOUT_METRIC
from training.runs import Run
from training.token_nats import token_nats

LOOKS = 10
MOST_TOKENS = 65_536
"""Of all samples together: a look at a long run stays a matter of seconds."""
SHARE_OF_RUN = 200
"""A sample is at most this part of the tokens that are trained on."""
DOCUMENT_BYTES = 4096
"""Of a longer document its beginning is taken: a sample of many beginnings says more than one of few books."""
_TOKEN_BYTES = 16  # tokens are shorter, so that enough documents are looked at


@dataclass(frozen=True)
class Sample:
    """Held-out text of one corpus as windows."""

    corpus: str
    windows_WT: NDArray[np.int64]
    """One token more than a window has, which is its last target."""
    tokens_per_byte: float

    def bits_per_byte(self, nats_per_token: float) -> float:
        """The loss by length of the text instead of tokens, so that other tokenizers compare."""
        return nats_per_token * self.tokens_per_byte / math.log(2)


class HeldOut:
    """The samples of a run, and after which steps they are looked at."""

    def __init__(self, run: Run, samples: list[Sample]) -> None:
        self._run, self._samples = run, samples
        self._every = run.config.heldout_every_steps or -(-run.plan.total_steps // LOOKS)

    def is_due(self, done: int) -> bool:
        """Whether the model after so many steps is looked at: before the first, at intervals and at the end."""
        return bool(self._samples) and (done % self._every == 0 or done == self._run.plan.total_steps)

    def look(self) -> dict[str, float]:
        """Bits per byte by name; of a mixture a number for every corpus. Of a divided model all ranks call it."""
        self._run.model.eval()
        try:
            found = [sample.bits_per_byte(self._nats_per_token(sample)) for sample in self._samples]
        finally:
            self._run.model.train()
        is_mixture = len(parts_of(self._run.job.data)) > 1
        names = [f"{HELDOUT_METRIC}_{sample.corpus}" if is_mixture else HELDOUT_METRIC for sample in self._samples]
        return {name: round(bits, 5) for name, bits in zip(names, found, strict=True)}

    def _nats_per_token(self, sample: Sample) -> float:
        run, rows, total = self._run, self._run.config.micro_batch_rows, 0.0
        for first in range(0, len(sample.windows_WT), rows):
            ids_BT = torch.from_numpy(sample.windows_WT[first : first + rows]).to(run.device)
            inputs = (run, ids_BT, None, run.config.precision)
            nats = token_nats(*inputs) if run.sharded is None else run.sharded.look(token_nats, *inputs)
            total += float(nats.sum(dtype=np.float64))
        return total / (len(sample.windows_WT) * (sample.windows_WT.shape[1] - 1))


def open_heldout(run: Run) -> HeldOut:
    """What a run looks at: nothing where it is not asked for, or where nothing was held out.

    Ranks that have the whole model leave it to the first.
    """
    config, data = run.config, run.job.data
    if config.heldout_every_steps == 0 or run.job.is_probe or (run.rank != 0 and run.sharded is None):
        return HeldOut(run, [])
    parts = {part.corpus.rpartition("@")[0]: part for part in reversed(parts_of(data))}
    least = config.micro_batch_rows * config.sequence_length
    num_tokens = max(least, min(MOST_TOKENS, config.tokens // SHARE_OF_RUN) // len(parts))
    samples = (
        sample_of(run.store, part, num_tokens=num_tokens, sequence_length=config.sequence_length)
        for part in reversed(parts.values())
    )
    return HeldOut(run, [sample for sample in samples if sample is not None])


def sample_of(store: Store, tokens: TokensRef, *, num_tokens: int, sequence_length: int) -> Sample | None:
    """Windows of about so many tokens of what was held out; None where that fills no window, or is no version."""
    from tokenizers import Tokenizer

    corpus, _, number = tokens.corpus.rpartition("@")
    texts = _texts(store, corpus, number, most=-(-num_tokens // _TOKEN_BYTES))
    tokenizer = Tokenizer.from_str(store.read_bytes(f"{tokens.tokenizer_key}/tokenizer.json").decode())
    tokenizer.encode_special_tokens = True  # a text that spells a special token is text like any other
    ids: list[int] = []
    num_bytes = 0
    for text in texts:
        start = text.encode()[:DOCUMENT_BYTES].decode(errors="ignore")
        ids += [*tokenizer.encode(start, add_special_tokens=False).ids, tokens.eos_id]
        num_bytes += len(start.encode())
        if len(ids) > num_tokens:
            break
    num_windows = min(len(ids) - 1, num_tokens) // sequence_length
    if num_windows < 1:
        return None
    places = np.arange(num_windows)[:, None] * sequence_length + np.arange(sequence_length + 1)
    return Sample(corpus, np.array(ids, dtype=np.int64)[places], len(ids) / num_bytes)


def _texts(store: Store, corpus: str, number: str, *, most: int) -> list[str]:
    """Of a version's held-out documents those with the smallest ids, in their order."""
    try:
        found = manifest.read(store, corpus, int(number))
    except (NotFoundError, ValueError):
        return []
    keys = [f"shards/{shard.sha256}.parquet" for shard in found.identity.shards if shard.split == "heldout"]
    chosen = sorted(
        (doc_id, key)
        for key in keys
        for doc_id in read_table(store, key, columns=["doc_id"])["doc_id"].to_pylist()
    )[: max(1, most)]
    texts: dict[bytes, str] = {}
    for key in sorted({key for _, key in chosen}):
        table = read_table(store, key, columns=["doc_id", "text"])
        wanted = {doc_id for doc_id, its_key in chosen if its_key == key}
        for row, doc_id in enumerate(table["doc_id"].to_pylist()):
            if doc_id in wanted:
                texts[doc_id] = table["text"][row].as_py()
    return [texts[doc_id] for doc_id, _ in chosen]
