"""Planted personal data and secrets stay in the stored documents: no log, record, span, decision or shard holds one."""

import logging
from pathlib import Path
from typing import Any

import pytest

from ingot.parquet import read_table
from tests.curation.pages import page
from tests.curation.road import Road, small_road
from tests.e2e.leaks import contents
from tests.pii.name_models import rule_model

KEY = "a key of pseudonyms that is long enough"
BODY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"
PLANTED = {
    "email": "ottoline.featherwick@salt-quay.org",
    "ip_address": "81.2.69.142",
    "phone": "+49 30 901820",
    "bank_account": "DE02 1203 0000 0000 2020 51",
    "payment_card": "4539 1488 0343 6467",
    "national_id": "536-22-8726",
    "api_key": "ghp_q7Xv2LpT9sKd4RmZ8wBy1NcH6gFj3VtA5eQu",
    "private_key": BODY,
    "password": "s8Fj2kq!x",
    "person": "Maria Sklodowska-Curie",
}
CLERK = (
    "Write to {email}, ring {phone}. The host is {ip_address}; pay from {bank_account} or {payment_card}. SSN "
    "{national_id}, by {person}.\n\nTOKEN={api_key} postgres://app:{password}@db.salt-quay.org/main\n\n"
    "-----BEGIN PRIVATE KEY-----\n{private_key}\n{private_key}\n-----END PRIVATE KEY-----\n"
).format(**PLANTED)


def road_with(tmp_path: Path, **rule: Any) -> Road:
    names = {"uri": rule_model(tmp_path / "model")}
    texts = {"a.md": f"{page(1)}\n\n{CLERK}", "b.md": f"{page(2)}\n\nAgain {PLANTED['email']}.", "c.md": page(3)}
    return small_road(tmp_path, {"notes": texts}, rules=[{"rule": "pii", "names": names, **rule}])


def holding(folder: Path, *, outside: tuple[str, ...]) -> dict[str, set[str]]:
    """Which planted values are in which files below a folder, without these parts of it."""
    found: dict[str, set[str]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(part in path.parts for part in outside):
            for content in contents(path):
                kinds = {kind for kind, value in {**PLANTED, "key": KEY}.items() if value.encode() in content}
                if kinds:
                    found.setdefault(str(path), set()).update(kinds)
    return found


@pytest.mark.parametrize("policy", ["redact", "pseudonymise", "drop"])
def test_no_output_of_a_run_holds_a_planted_value(
    tmp_path: Path, policy: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INGOT_SECRET_PSEUDONYMS", KEY)
    caplog.set_level(logging.DEBUG)
    options = {"credentials": "pseudonyms"} if policy == "pseudonymise" else {}
    road = road_with(tmp_path, policy=policy, **options)
    night = road.run()
    everything = holding(road.folder, outside=())
    assert set.union(*everything.values()) == set(PLANTED), "the search finds what lies in the stored documents"
    assert all("/documents/" in path for path in everything), everything
    assert not [value for value in (*PLANTED.values(), KEY) if value in caplog.text]
    rows = [row for row in road.decisions(night) if row["spans"]]
    assert {span["kind"] for row in rows for span in row["spans"]} == set(PLANTED)


def test_the_same_person_has_the_same_token_in_every_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGOT_SECRET_PSEUDONYMS", KEY)
    road = road_with(tmp_path, policies={"email": "pseudonymise"}, credentials="pseudonyms")
    night = road.run()
    texts = [row["text"] for row in road.shard_rows(night)]
    tokens = [word.strip(",.") for text in texts for word in text.split() if word.startswith("<EMAIL_")]
    assert len(tokens) == 2 and len(set(tokens)) == 1
    assert night.manifest.identity.versions.keys() >= {"rule.pii.pseudonym_key", "rule.pii.name_model"}


def test_hits_per_document_and_kind_are_stored_beside_the_spans(tmp_path: Path) -> None:
    road = road_with(tmp_path)
    road.run()
    (key,) = [key for key in road.store.list("spans/") if key.endswith(".parquet")]
    table = read_table(road.store, key)
    assert sorted(table["num_email"].to_pylist()) == [0, 1, 1]
    assert sum(table["num_person"].to_pylist()) == 1
