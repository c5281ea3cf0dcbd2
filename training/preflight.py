"""Pre-flight: what can be known to be wrong before the first update, looked at by rank 0 before step 0.

    packing     the loss of packed windows is that of their pieces alone, within rounding
    tokens      ids lie within the vocabulary
    truncation  how much of the text no window holds, and how much a window's border cuts off from its context
    overlap     no document is trained on and held out
    memory      the stage's estimate fits what is there
    disk        the checkpoints that are kept fit the store's disk
    head        vLLM will find the head of the model, for fresh weights
    rate        the learning rate is not far off the rules, for fresh weights

Draws no random number and changes no weight: a run has the same bits with and without it. Two windows through the model
and a look at the token files: below a second on the demo. `ingot plan --preflight` does the same.
"""

import json
import logging
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evaluation.overlap import documents_in_both
from ingot import manifest
from ingot.errors import DataError, IngotError, NotFoundError, RecipeError, TrainingError, WillNotFitError
from ingot.refs import TokensRef, parts_of
from ingot.storage import Store
from training import sizing
from training.adopted_shape import AdoptedShape
from training.job import write_json
from training.machine import checkpoint_bytes, estimated_memory
from training.models import EOS_ID, ModelConfig
from training.stage_plans import far_off
from training.stages.pretrain import Config, Plan

if TYPE_CHECKING:
    from training.acceleration import Precision
    from training.runs import Run

logger = logging.getLogger(__name__)

PREFLIGHT_FILE = "preflight.json"
WINDOWS = 2
"""Through the model: enough for a mask or a shape that is wrong, cheap where the model is large."""
LOOKED_AT = 64
"""Windows of step 0 of which those with the most documents are taken."""
ROUNDING = {"float32": 1e-4, "bfloat16": 3e-2}
"""Difference of two computations of one token's loss, over the largest loss where that is above one nat."""
MOST_UNREAD = 1 / 3
"""Share of the tokens that no window holds; more is left over where a corpus fills a single window."""
MOST_IDS = 20_000_000
"""Ids looked at, evenly over the files: a fraction of a second."""
MOST_DOCUMENTS = 2_000_000
"""Digests compared; more would take minutes, and curation splits by document in any case."""


def preflight(run: "Run", *, num_ranks: int | None = None) -> dict[str, Any]:
    """Every check in order; the first that fails raises. Returns what was found, for the run's record.

    num_ranks are those the stage will have; None: those of the run.
    """
    config, data = run.config, run.job.data
    ranks = num_ranks or run.num_ranks
    parts = parts_of(data)
    found: dict[str, Any] = {}
    if run.job.start is None:
        found["head"] = check_head(config.model)
    found["tokens"] = {part.corpus: check_ids(largest_id(run.store, part), part) for part in parts}
    found["truncation"] = {part.corpus: check_truncation(run.store, part, config.sequence_length) for part in parts}
    found["overlap"] = {part.corpus: check_overlap(run.store, part) for part in parts}
    on_gpu = run.device.type == "cuda"
    estimate = estimated_memory(config, data.vocab_size, on_gpu=on_gpu, ranks=ranks)
    ranks_here = 1 if on_gpu else ranks
    found["memory"] = check_memory(estimate * ranks_here, _memory_here(run))
    found["disk"] = check_disk(checkpoint_bytes(config, data.vocab_size), free_bytes(run.store))
    if run.job.start is None and not run.job.is_probe:  # a probe's tokens are not those the rate is for
        found["rate"] = check_rate(config, run.plan)
    if run.sharded is None:  # else all ranks gather the weights, and this one is alone here
        found["packing"] = check_packing(*token_losses(run), precision=_precision(run))
    return found


def record_preflight(run: "Run") -> None:
    """Check on rank 0, log the time, and leave what was found beside the run's metrics."""
    began = time.perf_counter()
    found = preflight(run)
    write_json(run.job.run_dir / PREFLIGHT_FILE, found)
    logger.info("pre-flight: %d checks passed in %.1f s", len(found), time.perf_counter() - began)


def check_head(model: ModelConfig | AdoptedShape) -> dict[str, bool]:
    """RecipeError for a model that vLLM opens, leaves without its head and answers from with one token for ever."""
    is_tied = isinstance(model, ModelConfig) and model.tie_embeddings
    if is_tied and model.family == "olmoe":
        raise RecipeError(
            "train.model: vLLM finds no head of an olmoe whose embeddings are tied; set tie_embeddings: false, or "
            "choose family qwen3_moe or mixtral"
        )
    return {"tied": is_tied}


def check_ids(largest: int, tokens: TokensRef) -> dict[str, int]:
    """The largest id beside the vocabulary."""
    if largest >= tokens.vocab_size:
        raise DataError(
            f"token id {largest} is outside the vocabulary of {tokens.vocab_size}; the token shards of {tokens.corpus} "
            "were made by another tokenizer, tokenize again"
        )
    return {"largest_id": largest, "vocab_size": tokens.vocab_size}


def largest_id(store: Store, tokens: TokensRef) -> int:
    """Of the ids, or of an even sample of blocks where there are very many."""
    largest, every = -1, max(1, -(-tokens.num_tokens // MOST_IDS))
    for shard in tokens.shards:
        if not shard.num_tokens:
            continue
        kind = {"uint16": "<u2", "uint32": "<u4"}[shard.dtype]
        ids = np.memmap(store.local_path(shard.bin_key), dtype=kind, mode="r")
        block = 1 << 16
        largest = max([largest, *(int(ids[at : at + block].max()) for at in range(0, len(ids), block * every))])
    return largest


def check_truncation(store: Store, tokens: TokensRef, sequence_length: int) -> dict[str, float]:
    """Shares of the tokens: those that no window holds, and those beyond the first window's length of a document."""
    unread = (tokens.num_tokens - 1) % sequence_length if tokens.num_tokens else 0
    lengths = np.concatenate([np.diff(np.fromfile(store.local_path(s.idx_key), dtype="<u8").astype(np.int64))
                              for s in tokens.shards])  # fmt: skip
    beyond = int(np.maximum(0, lengths - sequence_length).sum())
    shares = {"unread": unread / max(1, tokens.num_tokens), "beyond_a_window": beyond / max(1, tokens.num_tokens)}
    if shares["unread"] > MOST_UNREAD:
        raise DataError(
            f"{unread:,} of the {tokens.num_tokens:,} tokens of {tokens.corpus} fill no window of {sequence_length}; "
            "lower train.sequence_length or add documents"
        )
    return shares


def check_overlap(store: Store, tokens: TokensRef) -> dict[str, int | str]:
    """Exact copies between the training and the held-out split of a published version."""
    from ingot.parquet import read_table

    name, _, number = tokens.corpus.rpartition("@")
    try:
        found = manifest.read(store, name, int(number))
    except (NotFoundError, ValueError):
        return {"not_checked": f"{tokens.corpus} is no published version"}
    shards = {split: [s for s in found.identity.shards if s.split == split] for split in ("train", "heldout")}
    documents = sum(shard.rows for split in shards.values() for shard in split)
    if documents > MOST_DOCUMENTS:
        return {"not_checked": f"{documents:,} documents are more than {MOST_DOCUMENTS:,}"}

    def digests(sha256: str) -> list[bytes]:
        table = read_table(store, f"shards/{sha256}.parquet", columns=["text_sha256"])
        column: list[bytes] = table["text_sha256"].to_pylist()
        return column

    heldout = [digest for shard in shards["heldout"] for digest in digests(shard.sha256)]
    both = documents_in_both((digests(shard.sha256) for shard in shards["train"]), heldout)
    return check_copies(tokens.corpus, both, len(heldout))


def check_copies(corpus: str, both: Sequence[bytes], num_heldout: int) -> dict[str, int | str]:
    """DataError where a held-out text is trained on."""
    if both:
        raise DataError(
            f"{len(both):,} of {num_heldout:,} held-out documents of {corpus} are trained on too (text "
            f"{both[0].hex()[:12]}); its scores would be too good. Curate the corpus again, which splits by document"
        )
    return {"held_out": num_heldout, "trained_on": 0}


def check_memory(needed: int, room: int) -> dict[str, int]:
    """The estimate beside what can be had."""
    if needed > room:
        raise WillNotFitError(
            f"training needs about {needed / 1e9:,.2f} GB of memory, {room / 1e9:,.2f} GB are to be had; lower "
            "train.micro_batch_rows, set train.loss_chunk_tokens, or take fewer layers or less width"
        )
    return {"estimated_bytes": needed, "room_bytes": room}


def check_disk(needed: int, free: int | None) -> dict[str, int | None]:
    """The checkpoints that are kept beside what is free; None for a remote store, which is not asked."""
    if free is not None and needed > free:
        raise WillNotFitError(
            f"the checkpoints that are kept need {needed / 1e9:,.2f} GB, {free / 1e9:,.2f} GB are free; free space "
            "(`ingot gc --dry-run`), or put the store elsewhere with INGOT_STORE"
        )
    return {"checkpoint_bytes": needed, "free_bytes": free}


def check_rate(config: Config, planned: Plan) -> dict[str, Any]:
    """The peak rate beside three rules: from 50M active weights on far off two is refused, as in `ingot plan`."""
    size = planned.num_active_non_embedding_parameters
    tokens = planned.total_steps * config.batch_tokens
    check = sizing.check_learning_rate(planned.learning_rate, parameters=size, tokens=tokens)
    verdict = sizing.verdict(size, [check])
    if verdict == "refused":
        raise RecipeError(far_off("train", check, config.sequence_length))
    return {"learning_rate": planned.learning_rate, "verdict": verdict}


def check_packing(packed: NDArray[np.float32], apart: NDArray[np.float32], *, precision: str) -> dict[str, float]:
    """The losses of the same tokens in nats, two ways; TrainingError where one differs by more than rounding.

    Token by token, because a mean hides losses that move both ways.
    """
    difference = float(np.abs(packed - apart).max())
    # A NaN is no difference in packing: the first step says better what it is.
    if difference > ROUNDING[precision] * max(1.0, float(np.abs(apart).max())):
        raise TrainingError(
            f"the loss of a token in a packed window differs by {difference:.2g} nats from that in its piece alone; "
            "what else is packed changes it. Set train.document_masking: false, and report it with the versions of "
            "torch and transformers"
        )
    return {"packed": float(packed.mean()), "apart": float(apart.mean()), "largest_difference": difference}


def token_losses(run: "Run") -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Nats of every token of two windows of step 0 as the loop computes them, and piece by piece.

    Pieces are documents where attention is masked by document, else whole windows, one at a time.
    """
    import torch

    from training.documents import document_positions
    from training.token_nats import token_nats

    rows = run.sampler.rank_windows(0, rank=0, num_ranks=run.num_ranks)[:LOOKED_AT]
    positions = run.sampler.rank_positions(0, rank=0, num_ranks=run.num_ranks)[:LOOKED_AT]
    ids: NDArray[np.int64] = run.stream.read_windows(rows, run.config.sequence_length)
    if run.rewrite is not None:
        ids = run.rewrite(ids, positions)
    end_id = run.job.data.eos_id
    most_documents = np.argsort(-(ids[:, :-1] == end_id).sum(axis=1), kind="stable")[:WINDOWS]
    ids_BT = torch.from_numpy(ids[most_documents]).to(run.device)
    masked = run.config.document_masking
    pieces = [
        row[None, first : end + 1]
        for row in ids_BT
        for first, end in piece_bounds(row[:-1].tolist(), masked, end_id)
    ]
    run.model.eval()  # an adopted model may have dropout, which would draw random numbers
    try:
        positions_BT = document_positions(ids_BT[:, :-1], end_id) if masked else None
        packed = token_nats(run, ids_BT, positions_BT, _precision(run))
        return packed, np.concatenate([token_nats(run, piece, None, _precision(run)) for piece in pieces])
    finally:
        run.model.train()


def piece_bounds(inputs: Sequence[int], masked: bool, end_id: int = EOS_ID) -> list[tuple[int, int]]:
    """(first, end) of the documents of a window's inputs, or of all of it."""
    if not masked:
        return [(0, len(inputs))]
    ends = [place + 1 for place, token in enumerate(inputs) if token == end_id and place + 1 < len(inputs)]
    return list(zip([0, *ends], [*ends, len(inputs)], strict=True))


def _precision(run: "Run") -> "Precision":
    if run.config.model.is_mixture:
        return "float32"  # rounding in bfloat16 sends a token to another expert, which is no fault of packing
    return run.config.precision or ("bfloat16" if run.device.type == "cuda" else "float32")


def free_bytes(store: Store) -> int | None:
    """On the disk of the store; None for a remote one."""
    return shutil.disk_usage(store.root).free if store.is_local else None


def _memory_here(run: "Run") -> int:
    import torch

    from training.throughput import peak_memory_bytes

    if run.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(run.device)
        return int(free) + peak_memory_bytes(run.device)
    lines = Path("/proc/meminfo").read_text().splitlines() if Path("/proc/meminfo").is_file() else []
    free = next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")), 1 << 62)
    return free + run.num_ranks * peak_memory_bytes(run.device)


def main(job_path: Path, num_ranks: int) -> int:
    """The checks of a job alone: what they found, or the error, as one line of JSON; nothing is trained or stored.

    One process looks for all of the stage's ranks.
    """
    from training.job import Job
    from training.runs import set_up_run

    job = Job.model_validate_json(job_path.read_text())
    job.run_dir.mkdir(parents=True, exist_ok=True)
    answer: dict[str, Any]
    try:
        answer = {"found": preflight(set_up_run(job, rank=0, num_ranks=1), num_ranks=num_ranks)}
    except IngotError as error:
        answer = {"kind": type(error).__name__, "message": str(error)}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
