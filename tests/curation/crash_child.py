"""What children of the fork server run: one night of curation, tokenizer and tokens over a corpus."""

import tempfile
from pathlib import Path
from typing import Any

from datasets_pipeline import tokens as token_files
from datasets_pipeline.parallel import InProcessPool
from ingot import manifest
from ingot.digests import sha256_file
from ingot.storage import Store
from tests.curation.pages import Corpus, made_up
from tests.curation.road import Road


def tiny(folder: Path) -> Corpus:
    """A corpus in which every durable step is reached; small, because it is curated hundreds of times."""
    return made_up(folder, num_pages=8)


def warm_up() -> None:
    """Load models, kernels and libraries, without starting the tokenizer's threads."""
    import tokenizers  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:
        Road(tiny(Path(folder) / "documents"), Path(folder) / "road").run()


def curate_and_tokenize(documents: str, place: str, values: dict[str, Any] | None = None) -> dict[str, Any]:
    """One night in a store at `place`; the digests of everything that it gave."""
    road = Road(tiny_corpus(Path(documents)), Path(place), values=values or {})
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


def tiny_corpus(folder: Path) -> Corpus:
    """The corpus that lies in a folder already."""
    from tests.curation.pages import recipe_of

    sources = [{"name": "notes", "licence": "CC-BY-4.0", "rank": 10}, {"name": "mirror", "rank": 20}]
    return Corpus(folder, recipe_of(folder, sources))


def visible_versions(store: Store) -> dict[int, str]:
    """What a reader sees at this moment: version number -> identity digest."""
    numbers = manifest.versions_of(store, "harbour")
    return {number: manifest.read(store, "harbour", number).identity_digest for number in numbers}
