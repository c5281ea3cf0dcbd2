"""`ingot sources` and `ingot quarantine`, after real looks at real folders."""

import json
from pathlib import Path
from typing import Any

import pytest

from datasets_pipeline.acquire import SourceSnapshot, acquire
from datasets_pipeline.parallel import InProcessPool
from ingot import registry
from ingot.config import NamedConfig
from ingot.settings import Settings
from ingot.storage import Store
from interface.cli import main

PAGE = "<html><body><p>A page with some words about the furnace and the night shift.</p></body></html>"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("INGOT_HOME", str(tmp_path / "home"))
    (tmp_path / "wiki").mkdir()
    for number in range(3):
        (tmp_path / "wiki" / f"page-{number}.html").write_text(PAGE.replace("some", f"{number} some"))
    (tmp_path / "wiki" / "scan.bin").write_bytes(bytes(range(256)) * 20)
    return Store(Settings.from_environment().store)


def look(store: Store, folder: Path, day: int, **values: Any) -> SourceSnapshot:
    config = registry.load("source", "folder").Config(name="wiki", uri=str(folder), **values)
    entry = NamedConfig(kind="source", name="folder", config=config)
    return acquire(
        store, entry, InProcessPool(), place=str(folder), unit_bytes=1000, now=f"2026-01-0{day}T02:00:00+00:00"
    )


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main([*words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_sources_tell_what_is_new_changed_and_gone(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer(capsys, "sources") == {"sources": []}
    look(store, tmp_path / "wiki", 1)
    (tmp_path / "wiki" / "page-0.html").unlink()
    (tmp_path / "wiki" / "page-1.html").write_text(PAGE.replace("night", "day"))
    (tmp_path / "wiki" / "page-3.html").write_text(PAGE.replace("night", "late"))
    look(store, tmp_path / "wiki", 2)
    (source,) = answer(capsys, "sources")["sources"]
    assert (source["source"], source["kind"], source["time"]) == ("wiki", "folder", "2026-01-02T02:00:00+00:00")
    counts = {name: source["counts"][name] for name in ("seen", "new", "superseded", "gone", "quarantined")}
    assert counts == {"seen": 4, "new": 1, "superseded": 1, "gone": 1, "quarantined": 1}
    assert source["documents"] == 3
    assert main(["sources"]) == 0
    assert "2026-01-02T02:00:00+00:00" in capsys.readouterr().out


def test_what_is_quarantined_is_listed_with_reason_and_remedy_and_read_again_when_asked(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    look(store, tmp_path / "wiki", 1)
    listed = answer(capsys, "quarantine", "list")
    (row,) = listed["quarantined"]
    assert (row["uri"], row["reason"], row["whole_file"]) == ("scan.bin", "unsupported_media_type", True)
    assert "exclude such files" in row["detail"]
    assert listed["reasons"] == {"unsupported_media_type": 1}
    assert answer(capsys, "quarantine", "list", "--reason", "timeout")["total"] == 0
    assert look(store, tmp_path / "wiki", 2).counts["opened"] == 0  # nobody asked
    assert answer(capsys, "quarantine", "retry", "--reason", "timeout") == {"retry": {"wiki": 0}}
    assert answer(capsys, "quarantine", "retry", "--source", "wiki") == {"retry": {"wiki": 1}}
    assert look(store, tmp_path / "wiki", 3).counts["opened"] == 1
    assert look(store, tmp_path / "wiki", 4).counts["opened"] == 0


def test_an_unknown_reason_or_source_is_refused_with_the_known_ones(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    look(store, tmp_path / "wiki", 1)
    assert main(["quarantine", "list", "--reason", "bad"]) == 2
    assert "parser_error" in capsys.readouterr().err
    assert main(["quarantine", "list", "--source", "wikis"]) == 4
    assert "known: wiki" in capsys.readouterr().err
