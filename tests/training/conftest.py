"""A tiny real corpus as token shards, and ways to run a rank: in a forked process or as a whole group."""

import gzip
import json
import multiprocessing
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ingot.digests import sha256_file
from ingot.refs import TokenShard, TokensRef
from ingot.storage import Store
from training.job import FAILURE_FILE, OUTCOME_FILE, Failure, Job, Outcome, StageOutput
from training.stages.pretrain import Config

if TYPE_CHECKING:
    from training.runs import Run

SHAKESPEARE = Path(__file__).parents[3] / "shared/data/tasks/tinyshakespeare.txt.gz"
VOCAB_SIZE = 320
FINGERPRINT = "f" * 64


def make_tokens(root: Path, *, num_bytes: int = 60_000, num_shards: int = 2) -> TokensRef:
    """Speeches of a public-domain play as documents, in `num_shards` token shards under a store's root."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    if not SHAKESPEARE.is_file():
        pytest.skip(f"needs {SHAKESPEARE.name} of the shared test data")
    text = gzip.decompress(SHAKESPEARE.read_bytes()).decode()[:num_bytes]
    documents = [speech for speech in text.split("\n\n") if speech]
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        documents, vocab_size=VOCAB_SIZE, special_tokens=["<|endoftext|>"], show_progress=False
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer._tokenizer, eos_token="<|endoftext|>").save_pretrained(
        root / "tokenizers/play"
    )
    shards = []
    for index, part in enumerate(np.array_split(np.arange(len(documents)), num_shards)):
        ids = [[*tokenizer.encode(documents[row]).ids, 0] for row in part]
        shards.append(write_shard(root, f"{index:064x}", ids))
    return tokens_ref(tuple(shards), vocab_size=VOCAB_SIZE, num_bytes=len(text.encode()))


def write_shard(root: Path, name: str, documents: list[list[int]]) -> TokenShard:
    folder = root / "tokens/play"
    folder.mkdir(parents=True, exist_ok=True)
    offsets = np.cumsum([0, *(len(ids) for ids in documents)])
    np.concatenate([np.array(ids, dtype="<u2") for ids in documents]).tofile(folder / f"{name}.bin")
    offsets.astype("<u8").tofile(folder / f"{name}.idx")
    return TokenShard(
        bin_key=f"tokens/play/{name}.bin",
        idx_key=f"tokens/play/{name}.idx",
        shard_sha256=name,
        bin_sha256=sha256_file(folder / f"{name}.bin"),
        idx_sha256=sha256_file(folder / f"{name}.idx"),
        num_tokens=int(offsets[-1]),
        num_documents=len(documents),
        dtype="uint16",
    )


def tokens_ref(shards: tuple[TokenShard, ...], *, vocab_size: int, num_bytes: int = 0) -> TokensRef:
    return TokensRef(
        corpus="play@1",
        corpus_root_digest="a" * 64,
        tokenizer_digest="b" * 64,
        tokenizer_key="tokenizers/play",
        vocab_size=vocab_size,
        split="train",
        shards=shards,
        num_tokens=sum(shard.num_tokens for shard in shards),
        num_documents=sum(shard.num_documents for shard in shards),
        num_bytes=num_bytes,
    )


TINY = Config(
    model={"family": "llama", "layers": 2, "width": 32, "heads": 2, "mlp_width": 64},
    tokens=12 * 256,
    sequence_length=32,
    batch_tokens=256,
    micro_batch_rows=3,
    learning_rate=0.01,
    checkpoint_every_steps=3,
    log_every_steps=2,
    async_checkpoints=False,
)
"""12 steps of 8 windows with 31,000 weights; checkpoints after 3, 6, 9 (also where the decay begins) and 12.

They are whole before the next step, so that a kill at a step leaves those before it; `BESIDE` is the default.
"""

BESIDE = TINY.model_copy(update={"async_checkpoints": True})


@dataclass(frozen=True)
class Place:
    """A store with the corpus in it, and one run's folder."""

    root: Path
    tokens: TokensRef
    run: str = "run"

    @property
    def run_dir(self) -> Path:
        return self.root / self.run

    @property
    def store(self) -> Store:
        return Store(str(self.root))

    def output(self, **changes: object) -> StageOutput:
        return replace(StageOutput(str(self.root), FINGERPRINT, self.run_dir, "c" * 64, threads=1), **changes)

    def job(self, config: Config = TINY, **changes: object) -> Job:
        values = {
            "stage": "pretrain",
            "config": config.model_dump(mode="json"),
            "start": None,
            "data": self.tokens,
            "store_root": str(self.root),
            "scratch_root": None,
            "fingerprint": FINGERPRINT,
            "recipe_digest": "c" * 64,
            "run_dir": self.run_dir,
            "threads": 1,
            "attempt": "test",
        }
        return Job(**{**values, **changes})

    def weights_sha256(self, step: int = 12, fingerprint: str = FINGERPRINT) -> str:
        return sha256_file(self.root / f"checkpoints/{fingerprint}/{step:08d}/model.safetensors")

    def metrics(self) -> list[dict[str, float]]:
        return [json.loads(line) for line in (self.run_dir / "metrics.jsonl").read_text().splitlines()]

    def outcome(self) -> Outcome:
        return Outcome.model_validate_json((self.run_dir / OUTCOME_FILE).read_text())

    def failure(self) -> Failure:
        return Failure.model_validate_json((self.run_dir / FAILURE_FILE).read_text())


@pytest.fixture(scope="session")
def play(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The corpus, made once; tests copy nothing from it but read its shards."""
    root = tmp_path_factory.mktemp("play")
    return Place(root, make_tokens(root))


@pytest.fixture
def place(play: Place, tmp_path: Path) -> Place:
    """A fresh store that shares the corpus files with `play`."""
    for folder in ("tokens", "tokenizers"):
        os.symlink(play.root / folder, tmp_path / folder)
    return Place(tmp_path, play.tokens)


def _rank(
    job: Job, environment: dict[str, str], stop_after: float | None = None, rank: int = 0, num_ranks: int = 1
) -> None:
    from training.worker import log_to_file, run_rank

    os.environ.update(environment)
    job.run_dir.mkdir(exist_ok=True)
    log_to_file(job.run_dir / f"rank{rank}.log")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    if stop_after is not None:
        threading.Timer(stop_after, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
    os._exit(run_rank(job, stop, rank=rank, num_ranks=num_ranks))


RankRunner = Callable[..., int]
GroupRunner = Callable[..., list[int]]
SetUp = Callable[[Config], "Run"]


@pytest.fixture(scope="session")
def run_rank() -> RankRunner:
    """Runs one rank in a process forked from a server that has imported torch: 0.3 s instead of 5.

    Returns the exit status: 0, 1, or -9 when it was killed.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training.loops.pretrain", "training.worker"])

    def run(job: Job, *, crash_at: str = "", crash_log: str = "", kill_after: float | None = None) -> int:
        environment = {"INGOT_CRASH_AT": crash_at, "INGOT_CRASH_LOG": crash_log}
        process = context.Process(target=_rank, args=(job, environment, kill_after))
        process.start()
        process.join(60)
        assert process.exitcode is not None, "the rank hangs"
        return process.exitcode

    return run


@pytest.fixture(scope="session")
def run_ranks(run_rank: RankRunner) -> GroupRunner:
    """Runs ranks of one group, each in a forked process; returns their exit statuses.

    crash_at says where `victim` is killed; term_after sends TERM to rank 0 once metrics.jsonl has so many lines.
    """
    context = multiprocessing.get_context("forkserver")

    def run(
        job: Job, num_ranks: int, *, crash_at: str = "", victim: int = 0, term_after: int | None = None
    ) -> list[int]:
        job = job.model_copy(update={"attempt": uuid.uuid4().hex})  # names the file through which they meet
        job.run_dir.mkdir(exist_ok=True)
        processes = []
        for rank in range(num_ranks):
            environment = {"GLOO_SOCKET_IFNAME": "lo", "INGOT_CRASH_AT": crash_at if rank == victim else ""}
            processes.append(context.Process(target=_rank, args=(job, environment, None, rank, num_ranks)))
            processes[-1].start()
        metrics = job.run_dir / "metrics.jsonl"
        while term_after is not None and processes[0].is_alive():
            if metrics.is_file() and metrics.read_text().count("\n") >= term_after:
                processes[0].terminate()
                break
            time.sleep(0.01)
        for process in processes:
            process.join(60)
            assert process.exitcode is not None, "a rank hangs"
        return [process.exitcode for process in processes]

    return run


@pytest.fixture
def set_up(place: Place) -> Iterator[SetUp]:
    """A run as a rank holds it before its first step, in this process."""
    import torch

    from training.runs import set_up_run

    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield lambda config: set_up_run(place.job(config), rank=0, num_ranks=1)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture(scope="session")
def clean(play: Place, run_rank: RankRunner) -> Place:
    """One uninterrupted run; its crash log lists every durable step."""
    assert run_rank(play.job(), crash_log=str(play.root / "crash.log")) == 0
    return play
