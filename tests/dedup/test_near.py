"""Who is kept: clusters, representatives, policies; a pure function of the set of documents."""

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from datasets_pipeline.dedup import minhash
from datasets_pipeline.dedup.clusters import REASONS, connected_components
from datasets_pipeline.dedup.edges import ScoredPairs
from datasets_pipeline.dedup.near import NearDuplicates, find_near_duplicates, resolve
from datasets_pipeline.dedup.versions import version_key
from ingot.config import NearDedup
from ingot.errors import DataError
from tests.dedup.conftest import GroundTruth, doc_ids_of, generated_texts, order_table, verifier


def ids(num: int) -> pa.Array:
    """doc_ids in ascending order."""
    return pa.array([i.to_bytes(16, "big") for i in range(num)], pa.binary(16))


def decide(order: pa.Table, edges: list[tuple[int, int]], **config: object) -> list[tuple[int, str | None]]:
    """(representative, reason) of each document, given edges of similarity 0.9; other pairs have 0.6."""
    left, right = np.array(edges, dtype=np.int64).reshape(-1, 2).T
    near = resolve(
        ids(len(order)),
        ScoredPairs(left, right, np.full(len(left), 0.9)),
        order,
        np.ones(len(order), dtype=bool),
        config=NearDedup(**config),
        verify=lambda left, right: np.full(len(left), 0.6),
    )
    return [(int(r), REASONS[code]) for r, code in zip(near.representative, near.reason, strict=True)]


def run(
    texts: list[str], order: pa.Table | None = None, eligible: np.ndarray | None = None, **config: object
):
    text = pa.array(texts, pa.large_string())
    near = find_near_duplicates(
        doc_ids_of(texts),
        minhash.signatures(text),
        order if order is not None else order_table(len(texts)),
        eligible if eligible is not None else np.ones(len(texts), dtype=bool),
        config=NearDedup(**config),
        verify=verifier(text),
    )
    return near, near.to_table(doc_ids_of(texts)).sort_by("doc_id")


DUPLICATE, OLDER = "near_duplicate", "older_version"


@pytest.mark.parametrize(
    ("columns", "config", "kept"),
    [
        ({}, {}, 0),
        ({"length": [5, 5, 9]}, {}, 2),
        ({"quality": [0.5, 0.6, None], "length": [5, 5, 9]}, {}, 1),
        ({"stated_date": ["2024-01-01", None, "2025-06-30"], "quality": [0.5, 0.9, 0.5]}, {}, 1),
        (
            {"stated_date": ["2024-01-01", None, "2025-06-30"], "quality": [0.5, 0.9, 0.5]},
            {"prefer_newest": True},
            2,
        ),
        ({"source_rank": [2, 1, 2], "stated_date": ["2024", "2023", "2025"]}, {"prefer_newest": True}, 1),
    ],
)
def test_the_representative_is_the_first_in_the_order(columns: dict, config: dict, kept: int) -> None:
    decided = decide(order_table(3, **columns), [(0, 1), (0, 2)], **config)
    assert decided == [(kept, None if row == kept else DUPLICATE) for row in range(3)]


def test_translations_of_the_representative_are_kept_one_for_each_language() -> None:
    order = order_table(
        6,
        family=["page", "page", "page", "page", None, "other"],
        language=["en", "de", "de", "und", "de", "de"],
        quality=[0.9, 0.1, 0.5, 0.1, 0.1, 0.1],
    )
    edges = [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5)]
    drop = (0, DUPLICATE)
    assert decide(order, edges) == [(0, None), (2, DUPLICATE), (2, None), drop, drop, drop]
    assert decide(order, edges, keep_translations=False) == [(0, None), *[drop] * 5]


def test_only_the_newest_version_of_a_page_is_kept_even_when_versions_differ() -> None:
    order = order_table(
        6,
        family=["page", "page", "page", "page", None, "page"],
        version=["v1.9", "v1.10", "v1.10-rc1", "latest", "v2", "v1.0"],
        language=["en", "en", "en", "en", "en", "de"],
        quality=[0.9, 0.1, 0.1, 0.1, 0.1, 0.1],
    )
    # 0 and 4 resemble each other; the others stand alone.
    assert decide(order, [(0, 4)]) == [(0, None), (1, None), (2, None), (3, None), (0, DUPLICATE), (5, None)]
    newest = decide(order, [(0, 4)], newest_version_only=True)
    # A copy of the old version elsewhere stays: it has no newer version of its own.
    assert newest == [(1, OLDER), (1, None), (1, OLDER), (3, None), (4, None), (5, None)]


def test_an_older_version_yields_to_whom_its_newest_version_yields() -> None:
    order = order_table(3, family=["page", "page", None], version=["1", "2", None], source_rank=[5, 5, 1])
    assert decide(order, [(1, 2)], newest_version_only=True) == [(2, OLDER), (2, DUPLICATE), (2, None)]


def test_versions_sort_as_their_publishers_mean_them() -> None:
    names = ["v0.9", "v1", "2.9", "2.10-dev", "2.10-alpha2", "2.10.beta", "2.10-rc1", "2.10-rc2"]
    names += ["v2.10-docs", "37", "2024-01-15"]
    keys = [version_key(name) for name in names]
    assert keys == sorted(keys) and len(set(keys)) == len(keys)
    assert version_key("v1.0") == version_key("1") == version_key("version-1")
    assert version_key("latest") is None


def test_components_are_named_after_their_smallest_member() -> None:
    random = np.random.default_rng(11)
    left, right = random.integers(0, 300, (2, 220))
    label = connected_components(300, left, right)
    neighbours: dict[int, set[int]] = {i: {i} for i in range(300)}
    for a, b in zip(left.tolist(), right.tolist(), strict=True):
        merged = neighbours[a] | neighbours[b]
        for i in merged:
            neighbours[i] = merged
    assert label.tolist() == [min(neighbours[i]) for i in range(300)]


def test_the_loser_is_told_to_whom_and_by_how_much_even_without_a_direct_edge() -> None:
    asked: list[tuple[int, int]] = []

    def verify(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        asked.extend(zip(left.tolist(), right.tolist(), strict=True))
        return np.full(len(left), 0.71)

    chain = ScoredPairs(np.array([0, 1]), np.array([1, 2]), np.array([0.85, 0.9]))
    order = order_table(3, length=[9, 5, 5])
    near = resolve(ids(3), chain, order, np.ones(3, dtype=bool), config=NearDedup(), verify=verify)
    assert asked == [(0, 2)]
    assert near.cluster.tolist() == [0, 0, 0]
    assert near.representative.tolist() == [0, 0, 0]
    assert near.jaccard.tolist()[1:] == [0.85, 0.71] and np.isnan(near.jaccard[0])


def test_the_outcome_does_not_depend_on_the_order_of_documents() -> None:
    texts = generated_texts(150, seed=3)
    _, expected = run(texts)
    assert 30 < expected["reason"].null_count < 120
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(texts))
        assert run([texts[i] for i in order])[1].equals(expected)


def test_documents_that_are_not_eligible_influence_nothing() -> None:
    texts = generated_texts(120, seed=8)
    eligible = np.random.default_rng(1).random(120) < 0.6
    near, with_others = run(texts, eligible=eligible)
    _, alone = run([text for text, takes_part in zip(texts, eligible, strict=True) if takes_part])
    assert (near.cluster[~eligible] == -1).all() and (near.representative[~eligible] == -1).all()
    assert with_others.filter(pa.compute.is_valid(with_others["cluster_id"])).equals(alone)


def test_a_corpus_that_grew_in_steps_equals_one_run() -> None:
    texts = generated_texts(90, seed=13)
    cache: dict[tuple[str, str], float] = {}
    asked = 0
    tables = []
    for grown in (30, 60, 90):
        subset = texts[:grown]

        def cached(left: np.ndarray, right: np.ndarray) -> np.ndarray:
            nonlocal asked
            pairs = [(texts[a], texts[b]) for a, b in zip(left, right, strict=True)]
            for pair in pairs:
                if pair not in cache:
                    asked += 1
                    cache[pair] = minhash.jaccard(*pair)
            return np.array([cache[pair] for pair in pairs])

        doc_ids, rows = doc_ids_of(subset), minhash.signatures(pa.array(subset))
        near = find_near_duplicates(
            doc_ids, rows, order_table(grown), np.ones(grown, bool), config=NearDedup(), verify=cached
        )
        tables.append(near.to_table(doc_ids).sort_by("doc_id"))
    assert asked == len(cache)
    assert tables[-1].equals(run(texts)[1])


def test_a_document_without_words_is_kept() -> None:
    near, _ = run(["?!", "!?", "...", "one two three four five"])
    assert near.representative.tolist() == [0, 1, 2, 3]


def test_no_documents_have_no_duplicates() -> None:
    near, table = run([])
    assert table.num_rows == 0 and len(near.edges) == 0


def test_a_repeated_doc_id_is_refused() -> None:
    with pytest.raises(DataError, match="collapse exact copies"):
        run(["same text", "same text"])


def test_rows_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(DataError, match="order has 2 rows for 3 doc_ids"):
        run(["a", "b", "c"], order=order_table(2))
    with pytest.raises(DataError, match="lacks quality"):
        run(["a"], order=order_table(1).drop_columns(["quality"]))


def test_a_threshold_outside_its_range_is_refused() -> None:
    for threshold in (0.49, 1.01):
        with pytest.raises(ValidationError):
            NearDedup(threshold=threshold)


def adjusted_rand_index(a: np.ndarray, b: np.ndarray) -> float:
    """Agreement of two partitions, 0 by chance and 1 when equal (Hubert and Arabie 1985)."""

    def pairs(labels: np.ndarray) -> float:
        counts = np.unique(labels, return_counts=True, axis=0)[1].astype(float)
        return float((counts * (counts - 1) / 2).sum())

    together, total = pairs(np.stack([a, b], axis=1)), len(a) * (len(a) - 1) / 2
    expected = pairs(a) * pairs(b) / total
    return (together - expected) / ((pairs(a) + pairs(b)) / 2 - expected)


def test_clusters_of_real_documents_are_those_of_all_pairs(
    truth: GroundTruth, truth_signatures: np.ndarray
) -> None:
    verify = verifier(truth.texts)
    num = len(truth.texts)
    near: NearDuplicates = find_near_duplicates(
        truth.doc_ids, truth_signatures, order_table(num), np.ones(num, bool), config=NearDedup(), verify=verify
    )
    exact = verify(near.edges.left, near.edges.right)
    assert len(exact) > 1000 and (exact >= 0.8).all()  # precision 1: every edge is verified
    all_left, all_right = truth.left, truth.right
    similar = verify(all_left, all_right) >= 0.8
    complete = connected_components(num, all_left[similar], all_right[similar])
    assert adjusted_rand_index(near.cluster, complete) > 0.97
    assert adjusted_rand_index(near.cluster, truth.clusters_080) > 0.9
    # Of the similar pairs, those whose two documents ended in one cluster.
    assert (near.cluster[all_left[similar]] == near.cluster[all_right[similar]]).mean() > 0.98
