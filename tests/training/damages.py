"""Ways a checkpoint is damaged, by name: each takes the folder of the newest one and leaves it broken."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

WEIGHTS, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
MANIFEST, TOKENIZER = "manifest.json", "tokenizer.json"


def flip_a_bit(path: Path) -> None:
    """One bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def truncate(path: Path) -> None:
    """The last third of a file is gone."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def zero_a_block(path: Path) -> None:
    """4,096 bytes that a disk never wrote."""
    data = bytearray(path.read_bytes())
    data[4096:8192] = bytes(4096)
    path.write_bytes(data)


def empty_the_folder(folder: Path) -> None:
    """Every file is gone."""
    for path in folder.iterdir():
        path.unlink()


def edit_the_manifest(folder: Path) -> None:
    """A number in the manifest is another."""
    path = folder / MANIFEST
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "tokens_seen": record["tokens_seen"] + 1}))


def replace_the_tokenizer(folder: Path) -> None:
    """The tokenizer is that of another model: the same file with two pieces exchanged."""
    path = folder / TOKENIZER
    record = json.loads(path.read_text())
    vocabulary = record["model"]["vocab"]
    first, second = sorted(vocabulary)[-2:]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    path.write_text(json.dumps(record))


def older_sibling(folder: Path) -> Path:
    """The checkpoint before."""
    return sorted(path for path in folder.parent.iterdir() if path.is_dir())[-2]


def swap_in(name: str, folder: Path) -> None:
    """A file of the checkpoint before, sound in itself."""
    shutil.copyfile(older_sibling(folder) / name, folder / name)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "weights missing": lambda folder: (folder / WEIGHTS).unlink(),
    "optimizer missing": lambda folder: (folder / OPTIMIZER).unlink(),
    "state missing": lambda folder: (folder / STATE).unlink(),
    "weights truncated": lambda folder: truncate(folder / WEIGHTS),
    "weights empty": lambda folder: (folder / WEIGHTS).write_bytes(b""),
    "bit flipped in the weights": lambda folder: flip_a_bit(folder / WEIGHTS),
    "bit flipped in the optimizer": lambda folder: flip_a_bit(folder / OPTIMIZER),
    "block of zeros in the optimizer": lambda folder: zero_a_block(folder / OPTIMIZER),
    "optimizer of another step": lambda folder: swap_in(OPTIMIZER, folder),
    "weights of another step": lambda folder: swap_in(WEIGHTS, folder),
    "another tokenizer": replace_the_tokenizer,
    "record of the run truncated": lambda folder: truncate(folder / MANIFEST),
    "record of the run edited": edit_the_manifest,
    "record of another step": lambda folder: swap_in(MANIFEST, folder),
    "folder empty": empty_the_folder,
}
