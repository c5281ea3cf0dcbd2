"""The documentation that came with installed packages: of a made-up environment and of this one."""

import os
import sysconfig
import time
from pathlib import Path

import pytest

from datasets_pipeline.sources import python_packages
from datasets_pipeline.sources.base import ExtractionError
from ingot import registry
from ingot.errors import DataError, NotFoundError, RecipeError

MIT_TEXT = "Permission is hereby granted, free of charge, to any person obtaining a copy"


def config(root, **options) -> python_packages.Config:
    return python_packages.Config(name="packages", uri=str(root), **options)


def install(root: Path, name: str, version: str, headers: str, files: dict[str, str]) -> None:
    """A distribution as an installer leaves it: its files, METADATA and RECORD."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{headers}\nWhat {name} is.\n"
    for path, text in {f"{info}/METADATA": metadata, **files}.items():
        if not path.startswith("../"):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
    (root / info / "RECORD").write_text("".join(f"{path},,\n" for path in files) + f"{info}/RECORD,,\n")


@pytest.fixture
def site(tmp_path) -> Path:
    root = tmp_path / "site-packages"
    install(
        root,
        "tiny_tool",
        "1.0",
        "License-Expression: MIT\n",
        {
            "tiny_tool/__init__.py": '"""Tiny."""\n',
            "tiny_tool/core.py": 'def f():\n    """Does it."""\n',
            "tiny_tool/bare.py": "x = 1\n",
            "tiny_tool/void.py": "",
            "tiny_tool/README.md": "# Read me\n",
            "tiny_tool/tests/notes.txt": "test data\n",
            "tiny_tool-1.0.dist-info/licenses/LICENSE": MIT_TEXT,
            "tiny_tool-1.0.dist-info/top_level.txt": "tiny_tool\n",
            "tiny_tool/data.bin": "x",
            "../../bin/tiny.txt": "outside",
            "/etc/hosts.txt": "outside",
        },
    )
    install(root, "Silent", "2.0", "", {"Silent-2.0.dist-info/LICENSE.txt": MIT_TEXT})
    install(root, "mute", "3", "", {})
    return root


def test_prose_licences_and_metadata_are_listed_and_nothing_else(site):
    assert [entry.uri for entry in python_packages.list_files(config(site))] == [
        "Silent-2.0.dist-info/LICENSE.txt",
        "Silent-2.0.dist-info/METADATA",
        "mute-3.dist-info/METADATA",
        "tiny_tool-1.0.dist-info/METADATA",
        "tiny_tool-1.0.dist-info/licenses/LICENSE",
        "tiny_tool/README.md",
    ]


def test_every_file_states_distribution_version_and_licence_with_its_evidence(site):
    stated = {entry.uri: entry.attributes for entry in python_packages.list_files(config(site))}
    assert stated["tiny_tool/README.md"] == {
        "family": "tiny_tool",
        "version": "1.0",
        "licence": "MIT",
        "licence_evidence": "METADATA License-Expression",
    }
    assert stated["Silent-2.0.dist-info/METADATA"]["licence_evidence"] == "licence file LICENSE.txt"
    assert stated["mute-3.dist-info/METADATA"] == {"family": "mute", "version": "3", "licence": "unknown"}


def test_documents_carry_what_the_distribution_states(site):
    chosen = config(site, packages=("Tiny-Tool",), docstrings_of=("tiny.tool",))
    documents = {}
    for entry in python_packages.list_files(chosen):
        data = python_packages.read_file(chosen, entry).data
        for document in python_packages.extract_file(chosen, entry, data).documents:
            documents[entry.uri] = document
    assert documents["tiny_tool/core.py"].text == "tiny_tool.core.f\n\nDoes it."
    assert documents["tiny_tool-1.0.dist-info/METADATA"].text == "# tiny_tool 1.0\n\nWhat tiny_tool is."
    assert "tiny_tool/bare.py" not in documents and "tiny_tool/void.py" not in documents
    assert {(d.family, d.version, d.licence) for d in documents.values()} == {("tiny_tool", "1.0", "MIT")}


def test_links_out_of_the_environment_are_not_read(site, tmp_path):
    (tmp_path / "secret.md").write_text("secret")
    (site / "tiny_tool/README.md").unlink()
    (site / "tiny_tool/README.md").symlink_to(tmp_path / "secret.md")
    (site / "mute-3.dist-info/METADATA").unlink()
    os.mkfifo(site / "mute-3.dist-info/METADATA")
    uris = [entry.uri for entry in python_packages.list_files(config(site))]
    assert "tiny_tool/README.md" not in uris and "mute-3.dist-info/METADATA" not in uris


def test_a_broken_metadata_file_is_named_by_its_folder_and_rejected(site):
    (site / "mute-3.dist-info/METADATA").write_bytes(b"\x00\x01\x02" * 100)
    (entry,) = python_packages.list_files(config(site, packages=("mute",)))
    assert entry.attributes["family"] == "mute"
    with pytest.raises(ExtractionError) as refused:
        python_packages.extract_file(config(site), entry, python_packages.read_file(config(site), entry).data)
    assert refused.value.reason == "not_text"


def test_a_package_or_folder_that_is_not_there_is_told(site, tmp_path):
    with pytest.raises(NotFoundError, match="docstrings_of: tinny is not installed"):
        list(python_packages.list_files(config(site, docstrings_of=("tinny",))))
    with pytest.raises(NotFoundError, match="does not exist"):
        list(python_packages.list_files(config(tmp_path / "nowhere")))
    with pytest.raises(DataError, match="dist-info"):
        list(python_packages.list_files(config(tmp_path / "site-packages/tiny_tool")))
    with pytest.raises(RecipeError, match="local folder"):
        list(python_packages.list_files(config("s3://bucket/site-packages")))


def test_this_environment_is_listed_in_seconds_and_most_licences_are_stated():
    here = config(sysconfig.get_path("purelib"))
    began = time.monotonic()
    entries = list(python_packages.list_files(here))
    seconds = time.monotonic() - began
    licences = {entry.attributes["family"]: entry.attributes["licence"] for entry in entries}
    stated = sum(licence != "unknown" for licence in licences.values())
    assert len(licences) >= 20 and stated >= 0.9 * len(licences)
    assert seconds < 3 + len(licences) / 50, f"{len(entries)} files of {len(licences)} distributions in {seconds:.1f} s"
    num_documents = 0
    for entry in entries[:: max(1, len(entries) // 150)]:
        result = python_packages.extract_file(here, entry, python_packages.read_file(here, entry).data)
        num_documents += len(result.documents)
        assert all(document.family and document.version for document in result.documents)
    assert num_documents >= 20


def test_docstrings_of_an_installed_package_are_read():
    here = config(sysconfig.get_path("purelib"), packages=("pluggy",), docstrings_of=("pluggy",))
    texts = []
    for entry in python_packages.list_files(here):
        result = python_packages.extract_file(here, entry, python_packages.read_file(here, entry).data)
        texts += [document.text for document in result.documents if entry.uri.endswith(".py")]
    assert any("pluggy._manager.PluginManager.register\n\n" in text for text in texts)


def test_a_recipe_finds_the_sources_by_name_and_no_module_that_is_none():
    names = set(registry.names("source"))
    assert {"folder", "jsonl", "parquet", "python_packages", "git", "sql"} <= names
    assert not {"base", "files", "records", "globs", "sidecars", "paths", "access"} & names
