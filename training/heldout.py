"""Bits per byte of held-out text while a model trains: of the same documents at every look.

# B rows, T tokens of a window, W windows

The documents are those with the smallest doc_ids of what a corpus version held out (a doc_id is a hash, so this is a
stable random choice), the beginning of each, one after the other with the end token behind it, cut into windows as
training cuts its text. So the number lies a little above that of the held-out suite, which shows a document its whole
context, and is for the curve. It is of plain text, also in the stage `infill`. Draws no random number and changes no
weight. A look costs a third of training on as many tokens, by one rank while the others wait: ten looks are 2 % of a
run of one rank at most and N times that of N ranks, unless the sample is one window, which is the least.
"""

import logging
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from ingot import manifest
from ingot.errors import IntegrityError, NotFoundError
from ingot.parquet import read_table
from ingot.refs import TokensRef, parts_of
from ingot.storage import Store
from training.documents import document_positions
from training.job import HELDOUT_METRIC
from training.runs import Run
from training.token_nats import token_nats

logger = logging.getLogger(__name__)

LOOKS = 10
"""By default, of a run of at least so many steps, the last one after its end."""
MOST_TOKENS = 65_536
"""Of all samples together: a look at a long run stays a matter of seconds."""
SHARE_OF_RUN = 200
"""A sample is at most this part of the tokens that are trained on."""
DOCUMENT_BYTES = 4096
"""Of a longer document its beginning is taken: a sample of many beginnings says more than one of few books."""
_FEWEST_TOKENS = 16  # of a document, of most: so that enough of them are looked at


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

    def is_due(self, done: int) -> bool:
        """Whether the model after so many steps is looked at: before the first, at intervals and at the end.

        The same on every rank, with samples and without: the ranks look together at what else a step left.
        """
        every, total = self._run.config.heldout_every_steps, self._run.plan.total_steps
        if every == 0 or self._run.job.is_probe:
            return False
        if done in (0, total):
            return True
        return done % every == 0 if every else done * LOOKS // total > (done - 1) * LOOKS // total

    def look(self) -> dict[str, float]:
        """Bits per byte by name; of a mixture a number for every corpus. Of a divided model all ranks call it."""
        if not self._samples:
            return {}
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
            is_masked = run.config.document_masking
            positions_BT = document_positions(ids_BT[:, :-1], run.job.data.eos_id) if is_masked else None
            inputs = (run, ids_BT, positions_BT, run.config.precision)
            nats = token_nats(*inputs) if run.sharded is None else run.sharded.look(token_nats, *inputs)
            total += float(nats.sum(dtype=np.float64))
        return total / (len(sample.windows_WT) * (sample.windows_WT.shape[1] - 1))


def open_heldout(run: Run) -> HeldOut:
    """What a run looks at: nothing where it is not asked for, or where nothing was held out.

    Ranks that have the whole model leave it to the first; those of a divided one get what the first has read.
    """
    if run.config.heldout_every_steps == 0 or run.job.is_probe:
        return HeldOut(run, [])
    found = [_samples(run)] if run.rank == 0 else [[]]
    if run.sharded is not None and run.num_ranks > 1:
        dist.broadcast_object_list(found)
    return HeldOut(run, found[0])


def _samples(run: Run) -> list[Sample]:
    """One for each corpus that held something out; the log says which."""
    config = run.config
    parts = {part.corpus.rpartition("@")[0]: part for part in reversed(parts_of(run.job.data))}
    most = min(MOST_TOKENS, config.tokens // SHARE_OF_RUN) // len(parts)
    num_tokens = max(config.sequence_length, most)
    found = []
    for part in reversed(parts.values()):
        try:
            sample = sample_of(run.store, part, num_tokens=num_tokens, sequence_length=config.sequence_length)
        except (IntegrityError, NotFoundError) as error:
            # Training does not need it, and must not end for the sake of a curve.
            logger.warning("no curve of held-out text of %s: %s", part.corpus, error)
            continue
        if sample is None:
            told = logging.WARNING if config.heldout_every_steps else logging.INFO
            logger.log(told, "no curve of held-out text of %s: what it held out, if anything, does not fill a window "
                       "of %d tokens", part.corpus, config.sequence_length)  # fmt: skip
        else:
            logger.info("held-out text of %s: %d windows", part.corpus, len(sample.windows_WT))
            found.append(sample)
    return found


def sample_of(store: Store, tokens: TokensRef, *, num_tokens: int, sequence_length: int) -> Sample | None:
    """Windows of at most so many tokens of what was held out; None where that fills no window, or is no version."""
    from tokenizers import Tokenizer

    corpus, _, number = tokens.corpus.rpartition("@")
    texts = _texts(store, corpus, number, most=-(-num_tokens // _FEWEST_TOKENS))
    tokenizer = Tokenizer.from_str(store.read_bytes(f"{tokens.tokenizer_key}/tokenizer.json").decode())
    tokenizer.encode_special_tokens = True  # a text that spells a special token is text like any other
    ids: list[int] = []
    num_bytes = 0
    for start in texts:
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
    """The beginnings of those of a version's held-out documents that have the smallest ids, in their order."""
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
                text: str = table["text"][row].as_py()
                texts[doc_id] = text[:DOCUMENT_BYTES].encode()[:DOCUMENT_BYTES].decode(errors="ignore")
    return [texts[doc_id] for doc_id, _ in chosen]
