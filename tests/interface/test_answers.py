"""`ingot why`: an answer, or exit code 4 that says there is none."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ingot.lineage import DocumentTrace
from ingot.parquet import read_table, write_table
from ingot.schemas import ACQUISITION
from interface.answers import explain, print_document
from interface.cli import main
from interface.output import Printer
from tests.base.tiny_store import EXTRACTION, TinyStore, build, doc_id

NEW = doc_id("guide/cleaning.md").hex()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyStore:
    folder = tmp_path_factory.mktemp("tiny")
    return build(folder / "store", folder / "sources")


@pytest.fixture(autouse=True)
def store(tiny: TinyStore, home: Path, monkeypatch: pytest.MonkeyPatch) -> TinyStore:
    """Commands ask the tiny store."""
    monkeypatch.setenv("INGOT_STORE", str(tiny.root))
    return tiny


def test_a_document_of_the_version_is_answered(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["why", NEW, "--corpus", "handbook@2"]) == 0
    assert f"{NEW} in handbook@2: kept, shard " in capsys.readouterr().out


@pytest.mark.parametrize("query", [NEW, "guide/cleaning.md"])
def test_a_document_that_is_not_in_the_version_asked_for_is_not_found(
    query: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["why", query, "--corpus", "handbook@1"]) == 4
    assert f"no decision about '{query}' in handbook@1; see `ingot trace`" in capsys.readouterr().err


def test_a_file_that_was_quarantined_is_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = build(tmp_path / "store", tmp_path / "sources")
    monkeypatch.setenv("INGOT_STORE", str(tiny.root))
    prefix = f"acquisition/wiki/{EXTRACTION}"
    newest = tiny.store.read_record(f"{prefix}/000000000002.json")["record"]
    row: dict[str, Any] = read_table(tiny.store, f"{prefix}/{newest}.parquet").to_pylist()[0]
    row |= {"uri": "bad.md", "outcome": "quarantined", "reason": "not_text", "unit": None, "num_rows": 0}
    written = write_table(tiny.store, pa.Table.from_pylist([row], schema=ACQUISITION), prefix)
    assert tiny.store.put_if_absent(f"{prefix}/000000000003.json", {"record": written.sha256, "rows": 1})
    assert main(["why", "bad.md", "--corpus", "handbook@1"]) == 0
    assert "bad.md (wiki) is open: quarantined: not_text" in capsys.readouterr().out
    assert main(["why", "bad.md", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {
        "answers": [], "quarantined": [{"source": "wiki", "uri": "bad.md", "reason": "not_text"}], "ids": [],
    }  # fmt: skip


def test_a_score_without_a_threshold_is_told() -> None:
    version = {"outcome": "dropped", "rule": "language", "reason": "language_not_kept", "other_doc_id": None}
    assert explain({**version, "score": 0.98, "threshold": None}) == (
        "dropped by language: language_not_kept (0.98)"
    )
    assert explain({**version, "score": 0.5, "threshold": 0.65}).endswith("(0.5, threshold 0.65)")


def test_a_document_that_states_no_licence_is_shown_with_the_one_that_rules_judged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = {"source": "own", "uri": "a.md", "start": 0, "end": 9, "licence": None, "state": "open"}
    version: dict[str, Any] = {
        "corpus": "own", "version": 1, "outcome": "heldout", "rule": None, "shard": "0" * 64, "row": 3,
        "licence": "internal", "verdicts": [],
    }  # fmt: skip
    versions = [version, {**version, "version": 2, "licence": "unknown"}]
    print_document(DocumentTrace("ab" * 16, [place], versions, []), Printer(as_json=False))
    _, stands, first, second = capsys.readouterr().out.splitlines()
    assert stands == "  stands in own: a.md [0, 9), states no licence, open"
    assert first.endswith(" row 3, licence internal") and second.endswith(" row 3")
