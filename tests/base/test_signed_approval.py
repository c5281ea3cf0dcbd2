"""An approval signed with a real SSH key: who may sign, what is kept, and that a change of it is found."""

import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ingot import approval, ledger, model_versions, signatures
from ingot.digests import canonical_json, sha256_hex
from ingot.errors import GateError, IntegrityError, NotFoundError, RecipeError, ServiceError
from ingot.ledger import Actor
from ingot.model_versions import ModelVersion
from ingot.settings import Settings
from ingot.storage import Store
from ingot.verify import verify
from tests.base.test_promotion import champion, gate, register

pytestmark = pytest.mark.skipif(not signatures.available(), reason="ssh-keygen is not here (Debian: openssh-client)")
MONDAY = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


def make_key(folder: Path, name: str) -> Path:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
    subprocess.run(command, check=True)
    return folder / name


def entry(name: str, key: Path, options: str = 'namespaces="ingot-approval"') -> str:
    return f"{name} {options} {key.with_suffix('.pub').read_text().strip()}\n"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("keys")
    return {name: make_key(folder, name) for name in ("ada", "mallory")}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"), scratch_root=tmp_path / "scratch")


@pytest.fixture
def candidate(store: Store) -> ModelVersion:
    version = register(store, "a")
    gate(store, version, "FIRST", None)
    return version


def approve(store: Store, version: ModelVersion, key: Path, signers: str, **options):
    file = Path(store.root).parent / "allowed_signers"
    file.write_text(signers)
    return approval.approve(
        store, version, key=key, allowed_signers=file, **{"reason": "evidence reads well", "now": MONDAY, **options}
    )


def rewrite(store: Store, sequence: int, **changes: object) -> None:
    """Change the details of a record and chain everything after it anew, as a forger with the folder would."""
    previous = ""
    for number, key in enumerate(store.list("ledger/"), start=1):
        record = {name: value for name, value in store.read_record(key).items() if name != "sha256"}
        if number == sequence:
            for name, value in changes.items():
                record[name] = {**record[name], **value} if isinstance(value, dict) else value
        record["previous"] = previous
        record["sha256"] = previous = sha256_hex(canonical_json(record))
        store.delete(key)
        assert store.put_if_absent(key, record)


def test_a_signed_approval_is_kept_word_for_word_and_promotes_in_the_name_of_the_entry(store, candidate, keys):
    head = ledger.head(store)
    signers = entry("# nobody", keys["mallory"]) + entry("ada@example.org", keys["ada"])
    done = approve(store, candidate, keys["ada"], signers)
    assert done.version == champion(store) == 1
    approved, promoted = ledger.read(store)[-2:]
    assert (approved.verb, promoted.verb) == ("approved", "promoted")
    assert approved.actor == promoted.actor == Actor("person", "ada@example.org", "ssh_signature")
    assert json.loads(approved.details["statement"]) == {
        "kind": "ingot approval 1", "model": "mini", "version": 1, "checkpoint": "digest-a",
        "gate_record": ledger.read(store)[1].sha256, "verdict": "FIRST", "reason": "evidence reads well",
        "ledger_head": f"{head[0]}:{head[1]}", "time": "2026-03-02T08:00:00+00:00",
    }  # fmt: skip
    assert approved.details["signature"].startswith("-----BEGIN SSH SIGNATURE-----")
    assert approved.details["signer"] == "ada@example.org"
    assert approved.details["allowed_signers"] == entry("ada@example.org", keys["ada"])
    listed = subprocess.run(["ssh-keygen", "-l", "-f", keys["ada"]], capture_output=True, text=True).stdout
    assert approved.details["key"] in listed


def test_openssh_alone_verifies_what_the_ledger_keeps(store, candidate, keys, tmp_path):
    approve(store, candidate, keys["ada"], entry("ada", keys["ada"]))
    details = ledger.read(store)[-2].details
    for name in ("signature", "allowed_signers"):
        (tmp_path / f"{name}.txt").write_text(details[name])
    command = ["ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "allowed_signers.txt"), "-I", details["signer"],
               "-n", "ingot-approval", "-s", str(tmp_path / "signature.txt")]  # fmt: skip
    for statement, code in ((details["statement"], 0), (details["statement"] + " ", 255)):
        assert subprocess.run(command, input=statement.encode(), capture_output=True).returncode == code


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ('valid-before="20260301"', "expired"),
        ('valid-after="20260303"', "not yet valid"),
        ('namespaces="git"', "not permitted|does not hold"),
        ("cert-authority", "no entry of allowed_signers"),
    ],
)
def test_an_entry_that_does_not_allow_it_now_promotes_nothing(store, candidate, keys, options, said):
    with pytest.raises(GateError, match=said):
        approve(store, candidate, keys["ada"], entry("ada", keys["ada"], options))
    assert champion(store) is None and len(ledger.read(store)) == 2


def test_a_key_that_no_entry_names_promotes_nothing(store, candidate, keys):
    with pytest.raises(GateError, match=r"key SHA256:\S+ is not in allowed_signers"):
        approve(store, candidate, keys["mallory"], entry("ada", keys["ada"]))
    assert champion(store) is None and len(ledger.read(store)) == 2


@pytest.mark.parametrize("names", [("ada,bob",), ("ada", "bob"), ("*@example.org",)])
def test_a_key_that_stands_for_more_than_one_person_promotes_nothing(store, candidate, keys, names):
    with pytest.raises(GateError, match="one person"):
        approve(store, candidate, keys["ada"], "".join(entry(name, keys["ada"]) for name in names))
    assert champion(store) is None


def test_an_expired_entry_beside_a_new_one_of_the_same_person_is_no_obstacle(store, candidate, keys):
    new = entry("ada", keys["ada"])
    approve(store, candidate, keys["ada"], entry("ada", keys["ada"], 'valid-before="20260101"') + new)
    assert ledger.read(store)[-2].details["allowed_signers"] == new


def test_an_approval_that_was_right_then_is_right_after_the_key_has_expired(store, candidate, keys):
    soon = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y%m%d")
    approve(store, candidate, keys["ada"], entry("ada", keys["ada"], f'valid-before="{soon}"'))
    entries = ledger.read(store)
    for record in entries[-2:]:
        approval.check_record(entries, record)


def test_four_eyes_hold_for_signatures(store, keys):
    version = model_versions.register(
        store, "mini", checkpoint_fingerprint="f", checkpoint_key="checkpoints/f/00000001", checkpoint_digest="d",
        evidence={}, details={"approval": "four_eyes", "requested_by": "Ada"},
        actor=Actor("service", "prefect-deployment:1", "declared"),
    )  # fmt: skip
    gate(store, version, "PASS", None)
    with pytest.raises(GateError, match="ada@example.org asked for it"):
        approve(store, version, keys["ada"], entry("ada@example.org", keys["ada"]))
    assert approve(store, version, keys["ada"], entry("bob@example.org", keys["ada"])).version == 1


def test_what_may_not_be_promoted_is_not_even_signed(store, candidate, keys, monkeypatch):
    monkeypatch.setattr(signatures, "sign", lambda *_: pytest.fail("asked for a signature"))
    gate(store, candidate, "FAIL", None)
    with pytest.raises(GateError, match="verdict FAIL"):
        approve(store, candidate, keys["ada"], entry("ada", keys["ada"]))
    with pytest.raises(RecipeError, match="reason"):
        approve(store, candidate, keys["ada"], entry("ada", keys["ada"]), reason=" ")


def test_a_verdict_that_changed_after_the_evidence_was_shown_is_not_signed(store, candidate, keys):
    before = len(ledger.read(store))
    with pytest.raises(GateError, match="evaluated again meanwhile; nothing was signed"):
        approve(store, candidate, keys["ada"], entry("ada", keys["ada"]), seen="0" * 64)
    assert len(ledger.read(store)) == before


def test_a_verdict_that_changed_while_it_was_signed_is_not_approved(store, candidate, keys, monkeypatch):
    sign = signatures.sign

    def slow(statement: bytes, key: Path) -> str:
        gate(store, candidate, "FAIL", None)
        return sign(statement, key)

    monkeypatch.setattr(signatures, "sign", slow)
    with pytest.raises(GateError, match="evaluated again"):
        approve(store, candidate, keys["ada"], entry("ada", keys["ada"]))
    assert champion(store) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"details": {"reason": "I was told to"}},
        {"details": {"version": 2}},
        {"subject_digest": "digest-b"},
        {"actor": {"id": "bob"}},
        {"details": {"statement": '{"kind":"ingot approval 1"}'}},
        {"details": {"allowed_signers": "bob ssh-ed25519 AAAA\n"}},
        {"details": {"signature": "-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\n-----END SSH SIGNATURE-----\n"}},
    ],
    ids=["reason", "version", "checkpoint", "person", "statement", "signers", "signature"],
)
def test_verify_finds_a_forged_approval_although_the_chain_was_made_anew(store, candidate, keys, changes):
    approve(store, candidate, keys["ada"], entry("ada", keys["ada"]))
    rewrite(store, 3, **changes)
    entries = ledger.read(store)  # the chain holds
    with pytest.raises((IntegrityError, KeyError)):
        approval.check_record(entries, entries[2])
    with pytest.raises(IntegrityError, match="ledger record 3|an approval is damaged"):
        verify(store)


def test_verify_finds_a_promotion_that_claims_a_signature_nobody_gave(store, candidate):
    ledger.append(
        store, actor=Actor("person", "ada", "ssh_signature"), verb="promoted", subject=candidate.subject,
        subject_digest="digest-a", evidence={}, attempt="1", details={"model": "mini", "version": 1},
    )  # fmt: skip
    with pytest.raises(IntegrityError, match="ledger record 3 claims a signature of ada, but no approval carries it"):
        verify(store)


def test_without_ssh_keygen_signing_says_what_to_install_and_verify_notes_it(tiny, keys, monkeypatch):
    store = tiny.store
    version = model_versions.resolve(store, "mini/2")
    signers = Path(store.root).parent / "allowed_signers"
    signers.write_text(entry("ada", keys["ada"]))
    approval.approve(store, version, reason="so", key=keys["ada"], allowed_signers=signers)
    assert verify(store).notes == ()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "openssh-client" in verify(store).notes[0]
    with pytest.raises(ServiceError, match="openssh-client"):
        signatures.sign(b"{}", keys["ada"])


def test_a_key_with_a_wrong_passphrase_or_none_at_all_is_a_clear_refusal(tmp_path, capfd):
    with pytest.raises(RecipeError, match="does not exist"):
        signatures.sign(b"{}", tmp_path / "nothing")
    (tmp_path / "broken").write_text("no key\n")
    (tmp_path / "broken").chmod(0o600)
    with pytest.raises(GateError, match="did not sign"):
        signatures.sign(b"{}", tmp_path / "broken")


def test_the_file_of_signers_is_the_one_given_then_the_setting_then_the_workspace(tmp_path):
    for name in ("given", "setting", "allowed_signers"):
        (tmp_path / name).write_text("")
    home = {"INGOT_HOME": str(tmp_path / "home")}
    workspace = {**home, "INGOT_WORKSPACE": str(tmp_path)}
    setting = {**workspace, "INGOT_ALLOWED_SIGNERS": str(tmp_path / "setting")}

    def found(environ: dict[str, str], given: str | None = None) -> str:
        return approval.allowed_signers_file(Settings.from_environment(environ), given).name

    assert found(setting, str(tmp_path / "given")) == "given"
    assert (found(setting), found(workspace)) == ("setting", "allowed_signers")
    with pytest.raises(RecipeError, match="who may sign"):
        found(home)
    with pytest.raises(NotFoundError, match="namespaces"):
        found(home, str(tmp_path / "absent"))
