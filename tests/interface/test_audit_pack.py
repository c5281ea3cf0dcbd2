"""An audit pack is checked by Python alone, and whatever somebody changes in it is found and named."""

import ast
import io
import json
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingot import approval, ledger, model_versions, promotion, signatures, verify_pack
from ingot.digests import canonical_json, digest_of, sha256_hex
from interface.audit_pack import audit_pack
from interface.cli import main
from tests.base.test_signed_approval import entry, make_key
from tests.base.tiny_store import ACTOR, TEXTS, TinyStore, build

Files = dict[str, bytes]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyStore:
    """The tiny store with a champion."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny = build(folder / "store", folder / "sources")
    promotion.promote(tiny.store, model_versions.resolve(tiny.store, "mini/2"), actor=ACTOR, reason="the first")
    return tiny


@pytest.fixture(scope="module")
def pack(tiny: TinyStore) -> Files:
    data, _ = audit_pack(tiny.store, model_versions.resolve(tiny.store, "mini/2"))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def sealed(files: Files, **pack: Any) -> Files:
    """The files with a pack.json that agrees with them, as a forger would make it."""
    named = {n: {"bytes": len(d), "sha256": sha256_hex(d)} for n, d in files.items() if n != "pack.json"}
    return {**files, "pack.json": json.dumps({**json.loads(files["pack.json"]), "files": named, **pack}).encode()}


def changed(data: bytes, key: str, change: Callable[[dict[str, Any]], None]) -> bytes:
    """A stored record after a change, sealed again."""
    record = json.loads(data)
    change(record)
    del record["record_sha256"]
    return canonical_json({**record, "record_sha256": digest_of({"key": key, "record": record})})


def verdict_of(files: Files, folder: Path, *options: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The last line that the verifier prints."""
    place = folder / "pack.zip"
    with zipfile.ZipFile(place, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    code = verify_pack.main([str(place), *options])
    line = capsys.readouterr().out.splitlines()[-1]
    assert (code == 0) == (line == "The pack holds together.")
    return line


def test_a_pack_is_checked_by_python_alone_as_zip_and_as_folder(tiny: TinyStore, tmp_path: Path,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("INGOT_STORE", str(tiny.root))
    monkeypatch.chdir(tmp_path)
    assert main(["audit", "pack", "mini@champion"]) == 0
    file = tmp_path / "mini-2-audit.zip"
    with zipfile.ZipFile(file) as archive:
        archive.extractall(tmp_path / "unpacked")
    verifier = tmp_path / "unpacked" / "verify_pack.py"
    sequence, head = ledger.head(tiny.store)
    for arguments in ([], [str(file)], [str(file), "--head", f"{sequence}:{head}"]):
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(verifier), *arguments], capture_output=True, text=True, cwd="/", env={}
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.endswith("The pack holds together.\n")
    assert f"the ledger holds the head kept elsewhere, record {sequence}" in done.stdout
    assert "promoted by maria (declared), on FIRST" in done.stdout


def test_a_module_planted_beside_the_verifier_is_never_imported(pack: Files, tmp_path: Path) -> None:
    for name, data in pack.items():
        place = tmp_path / "pack" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    for name in ("json", "argparse", "os"):
        (tmp_path / "pack" / f"{name}.py").write_text("print('The pack holds together.')\nraise SystemExit(0)\n")
    told = [line for line in pack["README.txt"].decode().splitlines() if "python3" in line]
    assert told and all("python3 -I verify_pack.py" in line for line in told)
    verifier = str(tmp_path / "pack" / "verify_pack.py")
    plain, isolated = (
        subprocess.run([sys.executable, *flags, verifier], capture_output=True, text=True) for flags in ([], ["-I"])
    )
    assert (plain.returncode, plain.stdout) == (1, "") and "start Python with -I" in plain.stderr
    assert isolated.returncode == 1 and isolated.stdout.startswith("WRONG"), "files that pack.json does not name"


def test_the_verifier_is_one_file_of_python_3_9_and_its_library() -> None:
    tree = ast.parse(Path(verify_pack.__file__).read_text(), feature_version=(3, 9))
    names = [a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert {name.split(".")[0] for name in names} <= set(sys.stdlib_module_names)
    assert "zipfile" in names  # positive control


def test_the_same_evidence_gives_the_same_file_without_text(tiny: TinyStore, pack: Files) -> None:
    version = model_versions.resolve(tiny.store, "mini/2")
    assert audit_pack(tiny.store, version) == audit_pack(tiny.store, version)
    everything = b"".join(pack.values()).decode()
    assert "handbook@2" in everything and not any(text[10:40] in everything for text in TEXTS.values())


def test_an_untouched_pack_holds_together(
    pack: Files, tiny: TinyStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sequence, head = ledger.head(tiny.store)
    for options in ((), ("--head", f"{sequence}:{head}"), ("--head", tiny.witness)):
        assert verdict_of(sealed(pack), tmp_path, *options, capsys=capsys) == "The pack holds together."


def test_a_promotion_without_a_signature_is_told_to_who_brings_a_list_of_signers(
    pack: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, signers = tmp_path / "pack.zip", tmp_path / "signers"
    signers.write_text("")
    with zipfile.ZipFile(place, "w") as archive:
        for name, data in pack.items():
            archive.writestr(name, data)
    line = "note   ledger record 6: promoted by maria (declared) WITHOUT a signature"
    assert verify_pack.main([str(place)]) == 0 and line not in capsys.readouterr().out
    assert verify_pack.main([str(place), "--allowed-signers", str(signers)]) == 0 and line in capsys.readouterr().out


def test_every_flipped_byte_is_found(pack: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(7)
    for _ in range(150):
        name = chance.choice(sorted(set(pack) - {"pack.json"}))
        place = chance.randrange(len(pack[name]))
        data = bytearray(pack[name])
        data[place] ^= 1 << chance.randrange(8)
        line = verdict_of({**pack, name: bytes(data)}, tmp_path, capsys=capsys)
        assert line == f"WRONG  {name} has other bytes than pack.json states"


def forged(pack: Files, what: str) -> Files:
    """A pack whose maker changed one thing and made every seal anew that has no key."""
    files = dict(pack)
    place = f"evaluations/{json.loads(pack['pack.json'])['verdict']}.json"
    lines = pack["ledger.jsonl"].splitlines()
    if what == "card":
        files["card.json"] = pack["card.json"].replace(b'"by": "maria"', b'"by": "jo"')
    if what == "verdict on the card":
        files["card.json"] = pack["card.json"].replace(b'"verdict": "FIRST"', b'"verdict": "PASS"')
    if what == "checkpoint":
        key = f"{json.loads(lines[3])['details']['checkpoint_key']}/manifest.json"
        files["checkpoint/manifest.json"] = changed(
            pack["checkpoint/manifest.json"], key, lambda record: record["files"][0].update(sha256="0" * 64)
        )
    if what == "corpus":

        def hide(record: dict[str, Any]) -> None:
            record["identity"]["statistics"]["licence"]["public domain"] = record["identity"]["statistics"][
                "licence"
            ].pop("internal")
            record["identity_digest"] = digest_of(record["identity"])

        files["corpora/handbook@2.json"] = changed(pack["corpora/handbook@2.json"], "corpora/handbook/2.json", hide)
    if what == "swapped verdict":
        files[place] = changed(pack[place], place, lambda record: record.update(reason="much better"))
    if what == "evaluation":
        measured = f"evaluations/{json.loads(pack[place])['evaluation']}.json"
        files[measured] = changed(
            pack[measured], measured, lambda record: record["documents"][0].update(nats=1.0)
        )
    if what == "tokens":
        key = json.loads(lines[3])["details"]["tokens_key"]
        files["tokens.json"] = changed(
            pack["tokens.json"], key, lambda record: record["shards"][0].update(bin_sha256="0" * 64)
        )
    if what == "decisions":
        files["decisions.json"] = pack["decisions.json"].replace(b'"documents": 3', b'"documents": 4')
    if what == "ledger record":
        lines[5] = lines[5].replace(b"maria", b"joana")
    if what == "dropped record":
        del lines[2]
    if what == "cut ledger":
        del lines[5]
    if what == "missing file":
        del files["corpora/handbook@2.json"]
    files["ledger.jsonl"] = b"\n".join(lines) + b"\n"
    return sealed(files)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("card", "card.json tells ledger record 4 differently"),
        ("verdict on the card", "card.json has another verdict than the ledger"),
        ("checkpoint", "checkpoint/manifest.json is not the one that ledger record 4 registered"),
        ("tokens", "checkpoint/manifest.json has another data_digest than ledger record 4"),
        ("corpus", "corpora/handbook@2.json is not the one that ledger record 3 published"),
        ("swapped verdict", " is not the verdict that ledger record 5 names"),
        ("evaluation", " states 2.4 bits per byte, its documents give 0.02"),
        ("decisions", "decisions.json counts 4 kept documents of handbook@2, its manifest says 3"),
        ("ledger record", "ledger record 6 was changed"),
        ("dropped record", "ledger record 3 is missing (found 4)"),
        ("cut ledger", "the ledger ends at record 5, the pack was made at head 6:"),
        ("missing file", "corpora/handbook@2.json"),
    ],
)
def test_a_forgery_with_new_seals_is_found(
    pack: Files, what: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in verdict_of(forged(pack, what), tmp_path, capsys=capsys)


def test_a_ledger_written_anew_agrees_with_itself_and_is_found_with_a_head_kept_elsewhere(
    pack: Files, tiny: TinyStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Why the head is kept elsewhere."""
    _, head = ledger.head(tiny.store)
    lines = pack["ledger.jsonl"].splitlines()

    def by_another(record: dict[str, Any]) -> None:
        record["details"]["reason"] = "nobody asked"
        body = {n: v for n, v in record.items() if n not in ("sha256", "writer", "attempt", "record_sha256")}
        record["sha256"] = sha256_hex(canonical_json(body))

    lines[5] = changed(lines[5], "ledger/000000000006.json", by_another)
    new = json.loads(lines[5])["sha256"]
    card = pack["card.json"].replace(head.encode(), new.encode()).replace(b'"the first"', b'"nobody asked"')
    files = sealed({**pack, "ledger.jsonl": b"\n".join(lines) + b"\n", "card.json": card}, ledger_head=f"6:{new}")
    assert verdict_of(files, tmp_path, capsys=capsys) == "The pack holds together."
    line = verdict_of(files, tmp_path, "--head", f"6:{head}", capsys=capsys)
    assert "it was rewritten or cut after that head was printed" in line


def test_a_file_that_is_no_pack_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK nothing")
    assert verify_pack.main([str(tmp_path / "x.zip")]) == 1
    assert "WRONG  the pack cannot be read as one (BadZipFile" in capsys.readouterr().out


@pytest.mark.skipif(not signatures.available(), reason="ssh-keygen is not here (Debian: openssh-client)")
def test_a_signed_approval_in_a_pack_is_checked_against_its_signature_and_the_auditors_own_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = build(tmp_path / "store", tmp_path / "sources")
    ada, mallory = make_key(tmp_path, "ada"), make_key(tmp_path, "mallory")
    signers = tmp_path / "allowed_signers"
    signers.write_text(entry("ada@example.org", ada))
    version = model_versions.resolve(tiny.store, "mini/2")
    approval.approve(tiny.store, version, reason="evidence reads well", key=ada, allowed_signers=signers)
    with zipfile.ZipFile(io.BytesIO(audit_pack(tiny.store, version)[0])) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    place = tmp_path / "pack"
    place.mkdir()
    held = "The pack holds together."
    assert verdict_of(files, place, capsys=capsys) == held
    assert verdict_of(files, place, "--allowed-signers", str(signers), capsys=capsys) == held
    with monkeypatch.context() as nowhere:
        nowhere.setattr(verify_pack.shutil, "which", lambda name: None)
        assert verdict_of(files, place, capsys=capsys) == held
        line = verdict_of(files, place, "--allowed-signers", str(signers), capsys=capsys)
        assert "cannot be checked" in line and "ssh-keygen is not installed" in line
    signers.write_text(entry("ada@example.org", mallory))
    assert "signature of ada@example.org does not hold" in verdict_of(
        files, place, "--allowed-signers", str(signers), capsys=capsys
    )
    for change, message in (
        ({"reason": "evidence reads badly"}, "ledger record 6 has another reason than the statement that was signed"),
        ({"statement": None}, "ledger record 6: the signature of ada@example.org does not hold"),
    ):
        assert message in verdict_of(rewritten(files, change), place, capsys=capsys)


def rewritten(files: Files, change: dict[str, Any]) -> Files:
    """Another approval in record 6, and all after it chained anew: only the signature cannot be made."""
    lines, previous, card = files["ledger.jsonl"].splitlines(), "", json.loads(files["card.json"])
    for number, line in enumerate(lines, start=1):
        record = json.loads(line)
        if number == 6:
            if change == {"statement": None}:
                stated = json.loads(record["details"]["statement"])
                change = {"statement": canonical_json({**stated, "time": "2026-03-02T09:00:00+00:00"}).decode()}
            record["details"] |= change
        record["previous"] = previous
        body = {n: v for n, v in record.items() if n not in ("sha256", "writer", "attempt", "record_sha256")}
        record["sha256"] = previous = sha256_hex(canonical_json(body))
        lines[number - 1] = changed(canonical_json(record), f"ledger/{number:012d}.json", lambda record: None)
    for told in card["ledger"]:
        told["sha256"] = json.loads(lines[told["sequence"] - 1])["sha256"]
    for move in card["moves"]:
        move["reason"] = json.loads(lines[move["ledger"] - 1])["details"]["reason"]
    changed_files = {**files, "ledger.jsonl": b"\n".join(lines) + b"\n", "card.json": json.dumps(card).encode()}
    return sealed(changed_files, ledger_head=f"{len(lines)}:{previous}")
