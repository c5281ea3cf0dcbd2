"""Answers about a store whose truth was planted: by id, uri, file and place; `benchmarks/answers.py` asks a million."""

import json
from pathlib import Path
from typing import Any

import pytest

from ingot import lineage
from ingot.errors import NotFoundError
from interface.cli import main
from tests.base.planted_store import PlantedStore, build

NUM = 12_000
FILES = (3, 25, 153, 5001, 9599)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> PlantedStore:
    return build(tmp_path_factory.mktemp("planted"), NUM, mean_bytes=120, files=FILES)


def traced(planted: PlantedStore, i: int) -> dict[str, Any]:
    found = lineage.trace_document(planted.store, planted.ids[i].hex())
    names = ("source", "uri", "state")
    places = [{name: place[name] for name in names} for place in found.occurrences]
    assert not found.unreadable
    places.sort(key=lambda place: place["source"])
    return {"occurrences": places, "versions": found.versions, "models": found.models}


def truth(planted: PlantedStore, i: int) -> dict[str, Any]:
    return {"occurrences": planted.occurrences(i), "versions": planted.versions(i), "models": planted.models(i)}


def test_every_kind_of_document_is_traced_as_it_was_planted(planted: PlantedStore) -> None:
    asked = [*range(45), 53, 101, 103, 107, 153, *range(planted.num_wiki - 5, planted.num_wiki + 5), NUM - 2, NUM - 1]
    outcomes = {planted.outcome(i, 2)[1] for i in asked}
    assert outcomes == {None, "heldout", "gopher_quality", "dedup.near", "language"}
    for i in asked:
        assert traced(planted, i) == truth(planted, i), f"document {i}"


def test_why_tells_the_newest_decision_or_that_of_the_version_named(
    planted: PlantedStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INGOT_STORE", str(planted.root))
    monkeypatch.setenv("INGOT_HOME", str(tmp_path))
    for i in (*range(0, 8), 25, 35, 107, planted.num_wiki + 7):
        newest = planted.decided(i, 2)
        assert main(["why", planted.ids[i].hex(), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["answers"] == [{"doc_id": planted.ids[i].hex(), **(newest or {})}]
        first = planted.decided(i, 1)
        code = main(["why", planted.ids[i].hex(), "--json", "--corpus", "handbook@1"])
        answers = json.loads(capsys.readouterr().out).get("answers")
        assert (code, answers) == ((0, [{"doc_id": planted.ids[i].hex(), **first}]) if first else (4, None))


def test_a_document_is_found_by_uri_end_of_uri_file_bytes_and_place(planted: PlantedStore, tmp_path: Path) -> None:
    def ids(query: str) -> list[int]:
        return [planted.ids.index(bytes.fromhex(found)) for found in lineage.find_documents(planted.store, query)[0]]

    for i in FILES:
        path = planted.sources / "wiki" / planted.uri(i)
        copy = tmp_path / f"copy-{i}.md"
        copy.write_bytes(path.read_bytes())
        for query in (planted.uri(i), f"wiki:{planted.uri(i)}", planted.uri(i).split("/")[1], str(path), str(copy)):
            expected = [i]
            assert ids(query) == expected, query
    assert ids("archive:old/page-0000153.md") == [153]
    for i in (planted.num_wiki, planted.num_wiki + 4321 % (NUM - planted.num_wiki), NUM - 1):
        assert ids(planted.uri(i)) == ids(f"tickets:{planted.uri(i)}") == [i]
        whole = ids(planted.file(i))
        assert whole == [k for k in range(planted.num_wiki, NUM) if planted.file(k) == planted.file(i)]
    for query in ("section-0001/page-9.md", "wiki:old/page-0000153.md", "tickets:export-00000.jsonl/x"):
        with pytest.raises(NotFoundError):
            lineage.find_documents(planted.store, query)
    with pytest.raises(NotFoundError):
        lineage.trace_document(planted.store, "ab" * 16)
