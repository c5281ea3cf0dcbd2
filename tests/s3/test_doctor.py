"""`ingot doctor storage` on real services, and on ones that lack what a store needs."""

import json
from pathlib import Path

import pytest

from ingot import s3_client, store_probe
from ingot.errors import StorageError
from ingot.storage import Store
from ingot.storage_s3 import S3Objects
from ingot.store_probe import Diagnosis
from interface.cli import main
from tests.s3.conftest import Faulty, Service
from tests.s3.fault_proxy import Answer, Fault, Request, Without

ALL = {
    "reach", "clock", "read after write", "overwrite", "size in HEAD", "range read", "list after put", "put if absent",
    "race for one name", "wrong MD5 refused", "multipart upload", "put if absent in parts", "versioning", "latency",
    "delete",
}  # fmt: skip


def marks(found: Diagnosis) -> dict[str, str]:
    return {item.name: item.mark for item in found.probes}


def left(root: str) -> list[str]:
    """What is there, `.tmp/` and open uploads included."""
    objects = S3Objects(root)
    return [*(found.key for found in objects.find("")), *(upload.key for upload in objects.list_uploads())]


def test_a_service_that_can_is_fit_and_nothing_of_the_probe_stays(service: Service, root: str) -> None:
    found = store_probe.probe(root)
    assert set(marks(found)) == ALL
    assert found.mode == "many_writers" and found.refusals == ()
    # Exactly here the two differ: moto looks at no MD5, Ceph 16 at no condition of an upload's end.
    lacks = {name for name, mark in marks(found).items() if mark == "note"} - {"latency"}
    assert lacks == {"wrong MD5 refused" if service.name == "moto" else "put if absent in parts"}
    assert left(root) == []


def test_a_service_that_ignores_the_condition_is_refused_with_the_reason(
    moto: Service, root: str, service: Service, faulty: Faulty, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], tmp_path: Path,
) -> None:  # fmt: skip
    if service.name == "ceph":
        pytest.skip("the header is part of the signature, which Ceph checks")
    faulty.use(lambda request: Without("If-None-Match"))
    monkeypatch.setenv("INGOT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("INGOT_S3_ENDPOINT", faulty.proxy.endpoint)
    assert main(["doctor", "storage", root]) == StorageError.exit_code
    told = capsys.readouterr().out
    assert "FAIL  put if absent: a taken name was overwritten (0 of 2 times); the service ignores If-None-M" in told
    assert "FAIL  race for one name: 8 of 8 writers at once won; two runs could both publish one version" in told
    assert "refused: put if absent: the service ignores" in told and "There is no mode for a single writer" in told
    assert left(root) == []
    # And no run writes a record there.
    with pytest.raises(StorageError, match="ignores If-None-Match"):
        Store(root).put_if_absent("ledger/1.json", {"a": 1})


def test_the_answer_for_machines_has_mode_reason_and_every_probe(
    service: Service, root: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("INGOT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("INGOT_STORE", root)
    assert main(["doctor", "storage", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["store"] == root and found["mode"] == "many_writers" and found["reason"] == ""
    assert {probe["name"] for probe in found["probes"]} == ALL
    assert all(probe["ok"] or not probe["needed"] for probe in found["probes"])


def test_what_cannot_be_asked_is_one_answer_with_the_reason(
    service: Service, faulty: Faulty, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    (only,) = store_probe.probe("s3://no-such-bucket-of-ours/x").probes
    assert only.mark == "FAIL" and "bucket 'no-such-bucket-of-ours' does not exist" in only.found
    monkeypatch.setenv("INGOT_S3_ENDPOINT", faulty.proxy.endpoint)
    faulty.use(lambda request: Answer(403, "RequestTimeTooSkewed"))
    found = store_probe.probe(root)
    assert found.mode == "refused" and "the clock of this machine" in found.probes[0].found


def test_a_service_without_uploads_in_parts_is_refused_and_the_rest_is_asked(
    service: Service, faulty: Faulty, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    monkeypatch.setenv("INGOT_S3_ENDPOINT", faulty.proxy.endpoint)

    def no_parts(request: Request) -> Fault | None:
        return Answer(501, "NotImplemented") if request.path.endswith("?uploads") else None

    faulty.use(no_parts)
    found = store_probe.probe(root)
    assert [item.name for item in found.refusals] == ["multipart"]
    assert "NotImplemented" in found.refusals[0].found
    assert marks(found)["delete"] == "ok" and left(root) == []


def test_a_clock_that_drifts_is_a_note(service: Service, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = s3_client._now
    monkeypatch.setattr(s3_client, "_now", lambda: now().replace(year=now().year + 1))
    clock = next(item for item in store_probe.probe(root).probes if item.name == "clock")
    assert clock.mark == "note" and "s ahead" in clock.found
