"""What children of the fork server run: a night over the made-up corpus, to be killed or to race with another."""

import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from datasets_pipeline import publish as publish_module
from datasets_pipeline import tokens as token_files
from datasets_pipeline.jail.parent import Jail
from datasets_pipeline.parallel import DaskPool, InProcessPool, open_pool
from datasets_pipeline.sources.base import ExtractionResult, FileEntry
from ingot import manifest, registry
from ingot.digests import sha256_file
from ingot.storage import Store
from tests.curation.pages import made_up, made_up_at
from tests.curation.road import Road

NUM_PAGES = 8
"""A corpus in which every durable step is reached, and small, because it is curated hundreds of times."""


def warm_up() -> None:
    """Load models, kernels and libraries, without starting the tokenizer's threads."""
    import tokenizers  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:
        Road(made_up(Path(folder) / "documents", num_pages=NUM_PAGES), Path(folder) / "road").run()
    # Starting a jail in each of hundreds of children would be most of their time; how it dies is tested in tests/jail.
    Jail.extract = _extract_here  # type: ignore[method-assign]


def _extract_here(self: Jail, source: str, values: dict[str, Any], entry: FileEntry, data: bytes) -> ExtractionResult:
    module = registry.load("source", source)
    return module.extract_file(module.Config.model_validate(values), entry, data)  # type: ignore[no-any-return]


def curate(documents: str, place: str, values: dict[str, Any] | None = None) -> dict[str, Any]:
    """One night in a store at `place`: the version it named and its digests."""
    night = Road(made_up_at(Path(documents)), Path(place), values=values or {}).run()
    return {"version": night.ref.version, "reused": night.ref.reused, "digests": list(night.digests)}


def curate_and_tokenize(documents: str, place: str) -> dict[str, Any]:
    """One night in a store at `place`, tokenizer and tokens included; the digests of everything that it gave."""
    road = Road(made_up_at(Path(documents)), Path(place))
    night = road.run()
    store, found, config = road.store, night.manifest, road.recipe.tokenizer
    tokenizer = token_files.train_tokenizer(store, found, config)
    tokens = token_files.tokenize(store, night.ref.name, found, tokenizer, InProcessPool())
    files = [key for shard in tokens.shards for key in (shard.bin_key, shard.idx_key)]
    return {
        "version": night.ref.version,
        "digests": list(night.digests),
        "tokenizer": tokenizer.digest,
        "tokens": {key: sha256_file(store.local_path(key)) for key in files},
        "num_tokens": tokens.num_tokens,
    }


def curate_beside_another(documents: str, place: str, values: dict[str, Any], meeting: str, me: int) -> dict[str, Any]:
    """One night that waits for another process before both put the same version number."""
    publish = manifest.publish
    waited = False

    def together(*arguments: Any) -> bool:
        nonlocal waited
        if not waited:
            waited = True
            Path(meeting, str(me)).touch()
            deadline = time.monotonic() + 60
            while not Path(meeting, str(1 - me)).exists():
                assert time.monotonic() < deadline, "the other process did not come"
        return publish(*arguments)

    with patch.object(publish_module, "publish", together):
        return curate(documents, place, values)


def open_a_pool_and_die(place: str) -> None:
    """Start two workers, leave their process ids in a file, and be killed."""
    with open_pool(2, scratch=Path(place)) as pool:
        assert isinstance(pool, DaskPool)
        Path(place, "pids").write_text(" ".join(map(str, pool.worker_pids())))
        os.kill(os.getpid(), signal.SIGKILL)


def visible_versions(store: Store) -> dict[int, str]:
    """What a reader sees at this moment: version number -> identity digest."""
    numbers = manifest.versions_of(store, "harbour")
    return {number: manifest.read(store, "harbour", number).identity_digest for number in numbers}
