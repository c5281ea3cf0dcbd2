"""Metadata sidecars of a folder: what they state, and what a broken one does to its documents."""

import json
from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError

from datasets_pipeline.sources import folder, sidecars
from datasets_pipeline.sources.base import ExtractedDocument, ExtractionError, FileEntry

SECRET = {"classification": "secret"}


def write(root: Path, files: dict[str, str | bytes | dict[str, object]]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(content) if isinstance(content, dict) else content
        path.write_bytes(text.encode() if isinstance(text, str) else text)


def config(root: Path | str, sidecar: str, **options: object) -> folder.Config:
    return folder.Config.model_validate({"name": "export", "uri": str(root), "sidecar": sidecar, **options})


def listed(root: Path, sidecar: str, **options: object) -> dict[str, dict[str, str]]:
    return {entry.uri: entry.attributes for entry in folder.list_files(config(root, sidecar, **options))}


def refused(root: Path, sidecar: str, **options: object) -> dict[str, str]:
    """Why files are refused; every file that is not is read."""
    chosen, reasons = config(root, sidecar, **options), {}
    for entry in folder.list_files(chosen):
        try:
            folder.extract_file(chosen, entry, folder.read_file(chosen, entry).data)
        except ExtractionError as error:
            assert error.reason == "bad_sidecar" and "mend the sidecar" in error.message
            reasons[entry.uri] = error.message
    return reasons


def document(root: Path, uri: str, sidecar: str, **options: object) -> ExtractedDocument:
    chosen = config(root, sidecar, **options)
    (entry,) = (entry for entry in folder.list_files(chosen) if entry.uri == uri)
    (found,) = folder.extract_file(chosen, entry, folder.read_file(chosen, entry).data).documents
    return found


def test_a_sidecar_of_one_document_states_its_facts_and_is_no_document(tmp_path: Path) -> None:
    stated = {
        "Title": "Travel  policy",
        "Author": "A. Person",
        "Modified": "2025-03-04T10:00:00Z",
        "License": "CC BY 4.0",
        "Language": "de-AT",
        "Sensitivity": "Internal",
        "audience": ["staff", "hr"],
        "Owner": "Finance",
        "purpose": "training",
        "retain_until": "2030-1-31",
        "Department": 7,
    }
    write(tmp_path, {"a/policy.txt": "words", "a/policy.txt.metadata.json": stated, "b.txt": "more"})
    write(tmp_path, {"gone.txt.metadata.json": SECRET})
    assert sorted(listed(tmp_path, "{path}.metadata.json")) == ["a/policy.txt", "b.txt"]
    found = document(tmp_path, "a/policy.txt", "{path}.metadata.json", metadata_fields=("Department", "Absent"))
    assert (found.stated_date, found.language, found.retain_until) == ("2025-03-04", "de", "2030-01-31")
    assert (found.licence, found.licence_evidence) == ("CC-BY-4.0", "sidecar policy.txt.metadata.json")
    assert (found.classification, found.audience, found.owner, found.purpose) == (
        "Internal", "staff, hr", "Finance", "training",
    )  # fmt: skip
    assert found.metadata == {"title": "Travel policy", "Department": "7"}
    asked = document(tmp_path, "a/policy.txt", "{path}.metadata.json", metadata_fields=("author",))
    assert asked.metadata["author"] == "A. Person"
    assert document(tmp_path, "b.txt", "{path}.metadata.json").classification is None


@pytest.mark.parametrize(
    ("pattern", "place"),
    [
        ("{stem}.yaml", "a/b/c.yaml"),
        ("{folder}/meta/{name}.yml", "a/b/meta/c.txt.yml"),
        ("meta/{path}.json", "meta/a/b/c.txt.json"),
        ("{path}.META.JSON", "a/b/c.txt.META.JSON"),
    ],
)
def test_a_pattern_says_where_the_sidecar_of_a_document_lies(tmp_path: Path, pattern: str, place: str) -> None:
    text = json.dumps(SECRET)  # JSON is YAML
    write(tmp_path, {"a/b/c.txt": "words", place: text, "top.txt": "words"})
    found = listed(tmp_path, pattern)
    assert found == {"a/b/c.txt": SECRET, "top.txt": {}}


TABLE = 'Name;Classification;Modified\nb.txt;secret;2024-01-02\n.\\sub\\c.txt;"inter\nnal";\n'


def test_a_table_states_the_facts_of_many_documents(tmp_path: Path) -> None:
    rows = "\n".join(json.dumps({"path": f"x/{n}.txt", "title": f"Page {n}"}) for n in range(2))
    write(tmp_path, {"x/0.txt": "w", "x/1.txt": "w", "x/2.txt": "w", "index.jsonl": rows + "\n\n"})
    assert listed(tmp_path, "index.jsonl") == {
        "x/0.txt": {"metadata.title": "Page 0"}, "x/1.txt": {"metadata.title": "Page 1"}, "x/2.txt": {},
    }  # fmt: skip
    write(tmp_path / "csv", {"a/b.txt": "w", "a/sub/c.txt": "w", "a/metadata.csv": b"\xef\xbb\xbf" + TABLE.encode()})
    assert listed(tmp_path / "csv", "{folder}/metadata.csv", sidecar_fields={"path": "name"}) == {
        "a/b.txt": {"classification": "secret", "stated_date": "2024-01-02"},
        "a/sub/c.txt": {},  # a folder without a table of its own
    }
    write(tmp_path / "one", {"b.txt": "w", "sub/c.txt": "w", "all.csv": TABLE.encode("utf-16")})
    assert listed(tmp_path / "one", "all.csv", sidecar_fields={"path": "Name"})["sub/c.txt"] == {
        "classification": "inter nal"
    }


def test_accents_spelled_in_two_ways_are_one_path(tmp_path: Path) -> None:
    write(tmp_path, {"re\u0301sume\u0301.txt": "w", "all.jsonl": {"path": "r\u00e9sum\u00e9.txt", **SECRET}})
    assert list(listed(tmp_path, "all.jsonl").values()) == [SECRET]


def test_fields_are_found_by_the_recipes_names_and_inside_mappings(tmp_path: Path) -> None:
    write(
        tmp_path, {"a.txt": "w", "a.txt.json": {"fields": {"Label": "Top", "title": "T"}, "classification": "public"}}
    )
    fields = {"classification": "fields.label", "title": "fields.title"}
    assert listed(tmp_path, "{path}.json", sidecar_fields=fields)["a.txt"] == {
        "classification": "Top", "metadata.title": "T",
    }  # fmt: skip


def test_a_sidecar_outside_of_the_globs_is_read_all_the_same(tmp_path: Path) -> None:
    write(tmp_path, {"a.txt": "w", "a.txt.json": SECRET, "b.md": "w"})
    assert listed(tmp_path, "{path}.json", include=("*.txt",), exclude=("**/*.json",)) == {"a.txt": SECRET}


def test_a_changed_sidecar_changes_its_documents_only(tmp_path: Path) -> None:
    write(tmp_path, {"a.txt": "w", "b.txt": "w", "a.txt.json": SECRET, "b.txt.json": SECRET})
    before = listed(tmp_path, "{path}.json")
    write(tmp_path, {"a.txt.json": {"classification": "public"}, "b.txt.json": {**SECRET, "viewed": 17}})
    after = listed(tmp_path, "{path}.json")
    assert before["a.txt"] != after["a.txt"] and before["b.txt"] == after["b.txt"]


BROKEN: dict[str, bytes | str] = {
    "cut": '{"classification": "sec',
    "empty": b"",
    "no mapping": '["secret"]',
    "not text": b'{"classification": "s\xe9cret"}',
    "nested class": '{"classification": {"level": 3}}',
    "no day": '{"retain_until": "31.12.2030"}',
    "mapping in a list": '{"audience": ["staff", {}]}',
    "endless word": json.dumps({"owner": "x" * 2000}),
    "deep": '{"classification":' * 100_000,
    "large": json.dumps({"title": "x" * (1 << 20)}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_document_whose_sidecar_cannot_be_read_is_refused_and_its_neighbours_are_not(
    tmp_path: Path, name: str
) -> None:
    write(tmp_path, {"a.txt": "w", "b.txt": "w", "a.txt.json": BROKEN[name], "b.txt.json": SECRET})
    assert list(refused(tmp_path, "{path}.json")) == ["a.txt"]
    write(tmp_path, {"a.txt.json": SECRET})
    assert refused(tmp_path, "{path}.json") == {}


def test_hostile_yaml_costs_its_own_document(tmp_path: Path) -> None:
    laughs = "a: &a [x, x]\n" + "".join(f"b{n}: &b{n} [*{'a' if n == 0 else f'b{n - 1}'}, *a]\n" for n in range(60))
    merges = "x0: &x0 {k: v}\n" + "".join(f"x{n}: &x{n} {{<<: [*x{n - 1}, *x{n - 1}]}}\n" for n in range(1, 40))
    write(tmp_path, {"laughs.txt": "w", "laughs.txt.yaml": laughs + "classification: secret\n"})
    write(tmp_path, {"asked.txt": "w", "asked.txt.yaml": laughs + "audience: *b59\n"})
    write(tmp_path, {"merges.txt": "w", "merges.txt.yaml": merges, "tag.txt": "w"})
    write(tmp_path, {"tag.txt.yaml": "!!python/object/apply:os.system ['touch /tmp/ingot-trap']"})
    write(tmp_path, {"good.txt": "w", "good.txt.yaml": "classification: secret\nretain_until: 2030-01-02\n"})
    digits = "0x" + "f" * 6000  # Python refuses to write so many decimal digits
    write(tmp_path, {"long.txt": "w", "long.txt.yaml": f"classification: secret\ntitle: {digits}\n{digits}: x\n"})
    assert sorted(refused(tmp_path, "{path}.yaml")) == ["asked.txt", "long.txt", "merges.txt", "tag.txt"]
    found = listed(tmp_path, "{path}.yaml")
    assert found["laughs.txt"] == SECRET
    assert found["good.txt"] == {**SECRET, "retain_until": "2030-01-02"}


def test_a_bad_row_of_a_table_costs_the_documents_that_it_may_be_about(tmp_path: Path) -> None:
    write(tmp_path, {f"{n}.txt": "w" for n in range(4)})
    good = [json.dumps({"path": f"{n}.txt", "classification": "public"}) for n in range(3)]
    twice = json.dumps({"path": "2.txt", "classification": "secret"})
    for bad in ('{"path": "3.txt", "classification": "sec', '{"classification": "secret"}', "[]", '{"path": 3}'):
        write(tmp_path, {"all.jsonl": "\n".join([*good, bad, twice])})
        assert sorted(refused(tmp_path, "all.jsonl")) == ["2.txt", "3.txt"], bad
    (tmp_path / "all.jsonl").unlink()
    write(tmp_path, {"all.csv": "path,classification\n0.txt,public\n1.txt,public,more\n2.txt,public\n3.txt,public\n"})
    assert sorted(refused(tmp_path, "all.csv")) == ["1.txt"]


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("name,label\n", None),
        ("", "is empty"),
        ("path,class\na.txt,secret\n", "no column label"),
        ("path,label\n/sites/x/a.txt,secret\n", "none of the paths"),
        ("path,label\na.txt,secret\n", None),
        ('path,label\n"a.txt,secret\n' + "x" * 200_000, "no row with a path"),
    ],
)
def test_a_table_that_is_not_what_the_recipe_says_is_not_taken_for_silence(
    tmp_path: Path, table: str, reason: str | None
) -> None:
    write(tmp_path, {"a.txt": "w", "all.csv": table})
    found = refused(tmp_path, "all.csv", sidecar_fields={"classification": "label"})
    assert (found.get("a.txt") is None) == (reason is None) and (reason or "") in found.get("a.txt", "")


@pytest.mark.parametrize("sidecar", ["{path}.json", "all.csv", "all.jsonl", "{path}.yaml"])
def test_cut_and_flipped_sidecars_never_stop_a_listing(tmp_path: Path, sidecar: str) -> None:
    import random

    place = sidecar.replace("{path}", "a.txt")
    if sidecar == "all.csv":
        content = b"path,classification\na.txt,secret\n"
    else:
        content = json.dumps({"path": "a.txt", **SECRET}).encode()
    chosen = random.Random(place)
    for number in range(60):
        data = bytearray(content[: chosen.randrange(len(content))] if number % 2 else content)
        for _ in range(number % 5):
            if data:
                data[chosen.randrange(len(data))] = chosen.randrange(256)
        write(tmp_path, {"a.txt": "w", place: bytes(data)})
        refused(tmp_path, sidecar)


@pytest.mark.parametrize(
    "pattern",
    ["metadata.json", "{folder}/x.json", "{path}.csv", "{path}", "{path}.xml", "../{path}.json", "/x/{path}.json",
     "{what}.json", "{path.json", "{path}}.json", "a\\{path}.json"],
)  # fmt: skip
def test_a_pattern_that_cannot_be_of_sidecars_is_refused(pattern: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="sidecar"):
        config(tmp_path, pattern)


def test_a_fact_that_no_sidecar_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="colour"):
        config(tmp_path, "{path}.json", sidecar_fields={"colour": "Colour"})


def test_the_path_says_less_than_the_sidecar_and_the_document_more(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"fr/a.md": "---\ndate: 2020-02-02\n---\nwords", "fr/a.md.json": {"language": "de", "date": "2021-01-01"}},
    )
    found = document(tmp_path, "fr/a.md", "{path}.json", path_pattern="^(?P<language>[a-z]{2})/(?P<family>.+)$")
    assert (found.language, found.family, found.stated_date) == ("de", "a.md", "2020-02-02")


def test_sidecars_of_an_object_store_are_read_too() -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    try:
        for number in range(3):
            memory.pipe_file(f"/ingot-export/{number}.txt", b"words")
            memory.pipe_file(f"/ingot-export/{number}.txt.json", json.dumps({"title": f"T{number}"}).encode())
        entries = list(folder.list_files(config("memory://ingot-export", "{path}.json"), Counter()))
        assert [entry.attributes["metadata.title"] for entry in entries] == ["T0", "T1", "T2"]
    finally:
        memory.rm("/ingot-export", recursive=True)


def test_a_source_without_sidecars_lists_as_before(tmp_path: Path) -> None:
    write(tmp_path, {"a.txt": "w", "a.txt.json": SECRET})
    plain = folder.Config.model_validate({"name": "export", "uri": str(tmp_path)})
    assert [entry.uri for entry in folder.list_files(plain)] == ["a.txt", "a.txt.json"]
    assert sidecars.ERROR not in FileEntry("a", 1).attributes
