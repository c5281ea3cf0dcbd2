"""What is held out stays out of training, whatever comes later (CONTRACTS 6)."""

import random
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from datasets_pipeline.dedup.minhash import jaccard_pairs
from tests.curation.pages import Corpus, edited, page
from tests.curation.road import Night, Road, small_road


def similarities(road: Road, night: Night) -> dict[tuple[bytes, bytes], float]:
    """Exact similarity of each pair (training document, held-out document) of a version."""
    train, heldout = ({r["doc_id"]: r["text"] for r in road.shard_rows(night, s)} for s in ("train", "heldout"))
    ids, texts = [*train, *heldout], [*train.values(), *heldout.values()]
    pairs = list(product(range(len(train)), range(len(train), len(ids))))
    left, right = (np.array(side, np.int64) for side in zip(*pairs, strict=True))
    scores = jaccard_pairs(pa.array(texts, pa.large_string()), left, right)
    return {(ids[a], ids[b]): float(score) for a, b, score in zip(left, right, scores, strict=True)}


def test_no_training_document_resembles_a_held_out_one(corpus: Corpus, tmp_path: Path) -> None:
    source = corpus.recipe["sources"][0]["name"]
    uris = [path for path in sorted((corpus.folder / source).rglob("*.md")) if b"\0" not in path.read_bytes()]
    for number, path in enumerate(uris[:12]):
        corpus.write(source, f"near/{number}.md", edited(path.read_text() + page(number), number, share=0.2))
        corpus.write(source, f"nearer/{number}.md", edited(path.read_text() + page(number), number))
    road = Road(corpus, tmp_path / "road", values={"heldout": {"share": 0.25}})
    night = road.run()
    books = night.manifest.identity.accounting
    assert books["heldout"] >= 5 and books["dropped.excluded_near_heldout"] >= 3
    assert max(similarities(road, night).values()) < 0.5


def test_what_is_excluded_names_the_held_out_document_it_is_near(corpus: Corpus, tmp_path: Path) -> None:
    road = Road(corpus, tmp_path / "road", values={"rules": [], "heldout": {"share": 0.3}})
    source, other = (entry["name"] for entry in corpus.recipe["sources"][:2])
    heldout = [row for row in road.outcomes(road.run()).values() if row["outcome"] == "heldout"]
    originals = [row for row in heldout if row["source"] == source]
    for number, row in enumerate(originals):
        text = corpus.path(source, row["uri"]).read_text()
        corpus.write(other, f"near/{number}.md", edited(text, number, share=0.15))
    night = road.run()
    outcomes = road.outcomes(night)
    by_id = {row["doc_id"]: row for row in outcomes.values()}
    excluded = [row for row in by_id.values() if row["reason"] == "excluded_near_heldout"]
    assert len(excluded) >= 3
    for row in excluded:
        assert by_id[row["other_doc_id"]]["outcome"] == "heldout"
        assert row["score"] >= row["threshold"] == 0.5
        assert (row["outcome"], row["rule"]) == ("dropped", "heldout")


@pytest.mark.parametrize("seed", range(3))
def test_new_data_moves_no_document_from_held_out_to_training(tmp_path: Path, seed: int) -> None:
    """Twelve nights of new pages, near-copies and chains of them; a document may only go from training to excluded."""
    chosen = random.Random(f"heldout {seed}")
    pages = {f"{number}.md": page(number, sentences=20) for number in range(14)}
    road = small_road(tmp_path, {"notes": dict(pages)}, heldout={"share": 0.3}, dedup={"near": {"threshold": 0.7}})
    was: dict[bytes, str] = {}
    moves = set()
    for night in range(12):
        run = road.run()
        now = {
            row["doc_id"]: "excluded" if row["reason"] == "excluded_near_heldout" else row["outcome"]
            for row in road.outcomes(run).values()
        }
        for doc_id, place in now.items():
            before = was.get(doc_id)
            assert not (before == "heldout" and place not in ("heldout", "excluded")), f"night {night}: {place}"
            moves.add((before, place))
        was |= now
        for number in range(4):
            uri = chosen.choice(sorted(pages))
            new = f"{night}-{number}.md"
            share = chosen.choice([0.02, 0.06, 0.12])
            pages[new] = edited(pages[uri], 100 * night + number, share=share)
            road.corpus.write("notes", new, pages[new])
    assert ("kept", "excluded") in moves, "the control: something did move"


def test_a_larger_share_holds_out_a_superset(road: Road) -> None:
    found: list[set[str]] = []
    for share in (0.0, 0.1, 0.3, 0.5):
        road.values["heldout"] = {"share": share}
        outcomes = road.outcomes(road.run())
        found.append({name for name, row in outcomes.items() if row["outcome"] == "heldout"})
    assert found[0] == set() < found[1] < found[2] < found[3]


def test_all_corpora_of_a_store_hold_out_the_same_documents(road: Road) -> None:
    whole = {r["doc_id"]: r["outcome"] for r in road.outcomes(road.run()).values()}
    road.values |= {"corpus": "notes-only", "sources": road.corpus.recipe["sources"][:1], "seed": 5}
    part = {r["doc_id"]: r["outcome"] for r in road.outcomes(road.run()).values()}
    shared = whole.keys() & part.keys()
    assert {i for i in shared if whole[i] == "heldout"} == {i for i in shared if part[i] == "heldout"} != set()
