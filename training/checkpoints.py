"""Checkpoints in the store: written so that any kill is harmless, verified before any use (CONTRACTS 11).

    checkpoints/<stage fingerprint>/<step>/   a Hugging Face folder (with an index of the weights, so that no reader
                                              takes optimizer.safetensors for some), state.json, metrics.jsonl,
                                              and manifest.json, which makes it a checkpoint

Files go up one by one, the manifest last by put-if-absent: no manifest, no checkpoint. Reading checks
every size and SHA-256 first; a damaged checkpoint is reported, its manifest is moved aside to
`damaged.json` (so that the step can be written again) and the newest valid one is used. No pickle.
"""

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ingot.crashpoints import crashpoint
from ingot.digests import canonical_json, digest_of, sha256_file, sha256_hex
from ingot.errors import IntegrityError, NotFoundError, TrainingError
from ingot.refs import CheckpointRef
from ingot.storage import Store

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
DAMAGED = "damaged.json"
KEPT_CHECKPOINTS = 2
"""The newest this many stay, beside milestones: one to resume from and one if that is damaged."""


class CheckpointFile(BaseModel):
    """One file of a checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    name: str
    size: int
    sha256: str


class CheckpointManifest(BaseModel):
    """manifest.json: what makes a folder a checkpoint, and what it was made from."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)  # the store adds writer and attempt

    kind: str = "checkpoint"
    fingerprint: str
    step: int
    total_steps: int
    tokens_seen: int
    num_parameters: int
    milestone: str | None
    """Why the checkpoint is kept beyond the last two: `before_decay`, `final`, or None."""
    files: tuple[CheckpointFile, ...]
    recipe_digest: str
    data_digest: str
    tokenizer_digest: str
    corpus: str
    start: str | None
    """Key of the checkpoint this stage began with; None for fresh weights."""
    sampler: dict[str, Any]
    environment: dict[str, Any]
    exact: bool
    """True while every start of the run had one environment on a CPU: its weights can be made again bit for bit."""
    digest: str = ""
    """SHA-256 over the other fields: a flipped bit in the manifest itself is found."""

    def own_digest(self) -> str:
        """What `digest` must be."""
        return digest_of(self.model_dump(mode="json", exclude={"digest"}))


def folder_of(fingerprint: str) -> str:
    """The store prefix of a stage's checkpoints."""
    return f"checkpoints/{fingerprint}"


def key_of(fingerprint: str, step: int) -> str:
    """The store prefix of one checkpoint."""
    return f"{folder_of(fingerprint)}/{step:08d}"


def save_checkpoint(store: Store, folder: Path, manifest: CheckpointManifest) -> CheckpointRef:
    """Put the files of a finished local folder and then the manifest; retire what is no longer kept.

    The manifest comes without files and digest, they are filled in here. Raises TrainingError when
    another process has written the same step.
    """
    key = key_of(manifest.fingerprint, manifest.step)
    crashpoint("checkpoint.files.before", f"{manifest.step}")
    if store.exists(f"{key}/{MANIFEST}"):
        raise _other_writer(key)
    files = []
    for path in sorted(folder.iterdir()):
        described = CheckpointFile(name=path.name, size=path.stat().st_size, sha256=sha256_file(path))
        # A killed attempt may have left a file of the same size and other bytes: always overwrite.
        store.put_file(f"{key}/{path.name}", path, overwrite=True)
        if store.size(f"{key}/{path.name}") != described.size:
            raise IntegrityError(f"{key}/{path.name} was not stored whole; check the store's disk and start again")
        files.append(described)
        crashpoint("checkpoint.file.after", path.name)
    manifest = manifest.model_copy(update={"files": tuple(files), "digest": ""})
    manifest = manifest.model_copy(update={"digest": manifest.own_digest()})
    crashpoint("checkpoint.manifest.before", f"{manifest.step}")
    if not store.put_if_absent(f"{key}/{MANIFEST}", manifest.model_dump(mode="json")):
        raise _other_writer(key)
    crashpoint("checkpoint.manifest.after", f"{manifest.step}")
    retire_checkpoints(store, manifest.fingerprint, newest=manifest.step)
    return checkpoint_ref(store, key)


def _other_writer(key: str) -> TrainingError:
    return TrainingError(f"{key} was written by another process of the same run; stop one of them, then start again")


def retire_checkpoints(store: Store, fingerprint: str, *, newest: int) -> None:
    """Remove checkpoints that are neither among the last two up to `newest` nor milestones.

    Kept too are the newest whose every byte was read back and is right (nothing is removed while there is none), and
    any whose manifest is damaged: it may have been a milestone.
    """
    steps = [step for step in list_steps(store, fingerprint) if step <= newest]
    keep = set(steps[:KEPT_CHECKPOINTS])
    keep |= {step for step in steps[KEPT_CHECKPOINTS:] if _may_be_milestone(store, fingerprint, step)}
    if keep != set(steps):
        verified = _newest_verified(store, fingerprint, steps)
        if verified is None:
            logger.warning("no checkpoint of run %s can be read back whole: none is removed", fingerprint[:12])
            return
        keep.add(verified)
    for folder_step, keys in _keys_by_step(store, fingerprint).items():
        if folder_step >= newest or folder_step in keep:
            continue
        manifest_key = f"{key_of(fingerprint, folder_step)}/{MANIFEST}"
        crashpoint("checkpoint.retire.before", f"{folder_step}")
        # The manifest goes first: a kill in between leaves files without a manifest, which is nothing.
        store.delete(manifest_key)
        for key in keys:
            crashpoint("checkpoint.retire.file", key)
            store.delete(key)
        crashpoint("checkpoint.retire.after", f"{folder_step}")


def _may_be_milestone(store: Store, fingerprint: str, step: int) -> bool:
    try:
        return read_manifest(store, key_of(fingerprint, step)).milestone is not None
    except NotFoundError:
        return False
    except IntegrityError as error:
        logger.warning("checkpoint of step %d is kept, because it may be a milestone: %s", step, error)
        return True


def _newest_verified(store: Store, fingerprint: str, steps: Sequence[int]) -> int | None:
    for step in steps:
        try:
            verify_checkpoint(store, key_of(fingerprint, step))
        except (IntegrityError, NotFoundError) as error:
            logger.warning("checkpoint of step %d is damaged: %s", step, error)
        else:
            return step
    return None


def list_steps(store: Store, fingerprint: str) -> list[int]:
    """Steps that have a manifest, newest first; nothing is verified."""
    return sorted(
        (
            step
            for step, keys in _keys_by_step(store, fingerprint).items()
            if f"{key_of(fingerprint, step)}/{MANIFEST}" in keys
        ),
        reverse=True,
    )


def _keys_by_step(store: Store, fingerprint: str) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for key in store.list(f"{folder_of(fingerprint)}/"):
        step = key.removeprefix(f"{folder_of(fingerprint)}/").split("/")[0]
        if step.isdigit():
            found.setdefault(int(step), []).append(key)
    return found


def read_manifest(store: Store, key: str) -> CheckpointManifest:
    """The manifest of a checkpoint; IntegrityError when it does not hold together."""
    stored = store.read_json(f"{key}/{MANIFEST}")
    try:
        manifest = CheckpointManifest.model_validate(stored)
    except ValidationError as error:
        raise IntegrityError(
            f"{key}/{MANIFEST} lacks or garbles {error.error_count()} fields; restore the checkpoint from a backup"
        ) from None
    if manifest.digest != manifest.own_digest() or key != key_of(manifest.fingerprint, manifest.step):
        raise IntegrityError(f"{key}/{MANIFEST} was changed after it was written; restore the checkpoint from a backup")
    return manifest


def verify_checkpoint(store: Store, key: str) -> tuple[CheckpointManifest, CheckpointRef]:
    """Check every file of a checkpoint against its manifest; IntegrityError names the first that differs."""
    with open_checkpoint(store, key) as (manifest, _):
        return manifest, checkpoint_ref(store, key)


@contextmanager
def open_checkpoint(store: Store, key: str) -> Iterator[tuple[CheckpointManifest, dict[str, Path]]]:
    """Verified local files of a checkpoint by name, for as long as the block lasts.

    Raises IntegrityError naming the first file that is missing or differs.
    """
    manifest = read_manifest(store, key)
    with store.scratch(key, sum(file.size for file in manifest.files)) as scratch:
        paths = {}
        for file in manifest.files:
            paths[file.name] = path = _fetch(store, f"{key}/{file.name}", scratch / file.name)
            if path.stat().st_size != file.size or sha256_file(path) != file.sha256:
                raise IntegrityError(
                    f"{key}/{file.name} differs from its manifest ({path.stat().st_size:,} bytes, {file.size:,} "
                    "recorded); restore it from a backup or let the run fall back to an older checkpoint"
                )
        yield manifest, paths


def _fetch(store: Store, key: str, target: Path) -> Path:
    try:
        if store.is_local:
            return store.local_path(key)
        # Not local_path: its cache of remote objects goes by key and size, and a checkpoint's keys are
        # overwritten when a killed attempt is repeated.
        target.write_bytes(store.read_bytes(key))
        return target
    except NotFoundError:
        raise IntegrityError(
            f"{key} is missing; restore it from a backup or let the run fall back to an older checkpoint"
        ) from None


def newest_valid(
    store: Store, fingerprint: str, *, expected: Mapping[str, str]
) -> tuple[CheckpointManifest, CheckpointRef] | None:
    """The newest checkpoint of a run that verifies; None when the run never completed one.

    expected are manifest fields that must hold (recipe, data and tokenizer digests). Damaged ones newer
    than the result are reported and moved aside. Raises TrainingError when there were checkpoints and
    none is valid: a run never starts from scratch silently.
    """
    damaged: list[tuple[str, str]] = []
    for step in list_steps(store, fingerprint):
        key = key_of(fingerprint, step)
        try:
            manifest, ref = verify_checkpoint(store, key)
            _check_expected(key, manifest, expected)
        except IntegrityError as error:
            logger.warning("checkpoint of step %d is damaged: %s", step, error)
            damaged.append((key, str(error)))
            continue
        for damaged_key, reason in damaged:
            _move_aside(store, damaged_key, reason)
        if damaged:
            logger.warning("falling back to the checkpoint of step %d", step)
        return manifest, ref
    earlier = [key for keys in _keys_by_step(store, fingerprint).values() for key in keys if key.endswith(DAMAGED)]
    if not damaged and not earlier:
        return None
    reasons = "; ".join(reason for _, reason in damaged) or f"{earlier[0]} tells of one"
    raise TrainingError(
        f"run {fingerprint[:12]} has checkpoints, but none is valid: {reasons}. Restore one from a backup, or delete "
        f"{folder_of(fingerprint)}/ in the store to train from the beginning"
    )


def _check_expected(key: str, manifest: CheckpointManifest, expected: Mapping[str, str]) -> None:
    for name, value in sorted(expected.items()):
        if getattr(manifest, name) != value:
            raise IntegrityError(
                f"{key} was made with {name} {getattr(manifest, name)[:12]}, this run has {value[:12]}; "
                "use the same inputs or another fingerprint"
            )


def _move_aside(store: Store, key: str, reason: str) -> None:
    """Take the manifest away, keeping its bytes in damaged.json beside the reason."""
    original = store.read_bytes(f"{key}/{MANIFEST}").decode(errors="replace")
    crashpoint("checkpoint.damaged.before", key)
    store.put_bytes(f"{key}/{DAMAGED}", canonical_json({"reason": reason, "manifest": original}), overwrite=True)
    crashpoint("checkpoint.damaged.after", key)
    store.delete(f"{key}/{MANIFEST}")


def copy_files(store: Store, prefix: str, names: tuple[str, ...], folder: Path) -> None:
    """Copy objects of the store into a local folder under their own names."""
    for name in names:
        if store.is_local:
            shutil.copyfile(store.local_path(f"{prefix}/{name}"), folder / name)
        else:
            (folder / name).write_bytes(store.read_bytes(f"{prefix}/{name}"))


def checkpoint_ref(store: Store, key: str) -> CheckpointRef:
    """The ref of a checkpoint by its key; reads the manifest, not the files."""
    manifest = read_manifest(store, key)
    return CheckpointRef(
        fingerprint=manifest.fingerprint,
        step=manifest.step,
        key=key,
        manifest_sha256=sha256_hex(store.read_bytes(f"{key}/{MANIFEST}")),
        tokens_seen=manifest.tokens_seen,
        num_parameters=manifest.num_parameters,
    )
