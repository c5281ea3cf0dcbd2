"""A recipe on S3 gives what it gives on a local disk, digest for digest, also when the service is in trouble."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from datasets_pipeline import tokens as token_files
from datasets_pipeline.parallel import InProcessPool, open_pool
from ingot.storage import Store
from ingot.verify import verify
from tests.curation.pages import Corpus, made_up, page
from tests.curation.road import Night, Road
from tests.s3.conftest import Faulty, Service
from tests.s3.fault_proxy import storm

NUM_PAGES = 8


@dataclass(frozen=True)
class Expected:
    """What two nights and a tokenizer give on a local disk."""

    nights: tuple[Night, Night]
    tokens: dict[str, str]


def second_night(corpus: Corpus) -> None:
    corpus.write("notes", "sheets/002.md", page(720))
    corpus.write("notes", "sheets/new.md", page(700))
    corpus.path("mirror", "own/203.md").unlink()


def tokens_of(road: Road, night: Night) -> dict[str, str]:
    """SHA-256 of every token file."""
    tokenizer = token_files.train_tokenizer(road.store, night.manifest, road.recipe.tokenizer)
    made = token_files.tokenize(road.store, night.ref.name, night.manifest, tokenizer, InProcessPool())
    pairs = ((shard.bin_key, shard.bin_sha256, shard.idx_key, shard.idx_sha256) for shard in made.shards)
    return {key: digest for a, b, c, d in pairs for key, digest in ((a, b), (c, d))}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Expected:
    folder = tmp_path_factory.mktemp("local")
    corpus = made_up(folder / "documents", num_pages=NUM_PAGES)
    road = Road(corpus, folder / "road")
    first = road.run()
    second_night(corpus)
    second = road.run()
    assert second.digests != first.digests
    return Expected((first, second), tokens_of(road, second))


def road_on(store: Store, folder: Path) -> Road:
    road = Road(made_up(folder / "documents", num_pages=NUM_PAGES), folder / "road")
    road.store = store
    return road


@pytest.mark.faults
def test_two_nights_and_tokens_have_the_digests_of_a_local_disk(
    store: Store, expected: Expected, tmp_path: Path, is_long: bool
) -> None:
    road = road_on(store, tmp_path)
    first = road.run()
    second_night(road.corpus)
    # In a long run by workers, who open the store for themselves; they take half a minute to start.
    with open_pool(2 if is_long else 0, scratch=tmp_path / "pool") as pool:
        second = road.run(pool)
    assert (first.digests, second.digests) == tuple(night.digests for night in expected.nights)
    assert second.manifest.identity == expected.nights[1].manifest.identity
    assert tokens_of(road, second) == expected.tokens
    assert road.run().ref.reused
    verify(store)


@pytest.mark.faults
def test_with_a_fifth_of_requests_refused_and_connections_cut_it_is_the_same_version(
    faulty: Faulty, store: Store, service: Service, expected: Expected, tmp_path: Path, is_long: bool
) -> None:
    if service.name == "ceph" and not is_long:
        pytest.skip("once is enough for a short run: `make faults` does it on both services")
    for seed in range(4 if is_long else 1):
        faulty.use(storm(seed, refused=0.2, cut=0.05))
        road = road_on(faulty.store, tmp_path / str(seed))
        assert road.run().digests == expected.nights[0].digests
        assert (
            faulty.proxy.done["Answer"] > 20
            and sum(faulty.proxy.done[f"Cut{when}"] for when in ("Before", "After", "Body")) > 3
        )
        verify(store)
        for key in store.list(""):
            store.delete(key)
