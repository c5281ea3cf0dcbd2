"""Files of a model folder that somebody else made: which are taken in, and what is refused before anything is loaded.

Every byte is hostile: a folder that holds code or pickles, or needs code to be loaded, is refused as a whole. What is
taken is copied first and then looked at, so that what was checked is what is kept. The weights are never loaded here;
`training/adopted_shape.py` compares their names and shapes with the config.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingot.errors import DataError, NotFoundError

_CODE = (".py", ".pyc", ".so", ".dll", ".sh", ".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".msgpack",
         ".joblib", ".npz", ".npy", ".onnx", ".gguf")  # fmt: skip
"""Code, pickles, and weights in formats that are not read here."""
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_NEEDED = ("config.json", "tokenizer.json")
_TAKEN = (*_NEEDED, "generation_config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
          "chat_template.jinja", "README.md")  # fmt: skip
_TAKEN_BEGINNINGS = ("LICENSE", "LICENCE", "NOTICE", "USE_POLICY")
_LARGEST_TEXT_BYTES = 256 << 20
"""tokenizer.json of a vocabulary of 256,000 entries has some 35 MB."""
_DTYPES = ("F64", "F32", "F16", "BF16")
_IMPLEMENTATIONS = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "grouped_mm", "batched_mm")
_CHUNK = 8 << 20


@dataclass(frozen=True)
class Taken:
    """What was copied out of a folder."""

    sha256: dict[str, str]
    """By name of the file."""
    num_bytes: int
    left_out: tuple[str, ...]
    """Files that nobody needs, by their path in the folder."""


def size_of(path: Path) -> int:
    """Bytes of the files that would be taken; NotFoundError when there is no folder."""
    return sum((path / name).stat().st_size for name in _chosen(path)[0])


def take_in(path: Path, target: Path) -> Taken:
    """Copy what a model needs from a folder into an empty one; DataError for what could run code or leads outside."""
    chosen, left_out = _chosen(path)
    digests, num_bytes = {}, 0
    for name in chosen:
        if name in _TAKEN and (path / name).stat().st_size > _LARGEST_TEXT_BYTES:
            raise DataError(f"{name} is larger than {_LARGEST_TEXT_BYTES >> 20} MB; take it out of {path.name}")
        digest = hashlib.sha256()
        with open(path / name, "rb") as source, open(target / name, "wb") as copy:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                num_bytes += copy.write(chunk)
        digests[name] = digest.hexdigest()
    check_files(target)
    return Taken(digests, num_bytes, tuple(left_out))


def _chosen(path: Path) -> tuple[list[str], list[str]]:
    """(names of the files to take, paths of the others)."""
    if not path.is_dir():
        raise NotFoundError(f"{path} is no folder; give a local Hugging Face folder with config.json and .safetensors")
    inside = list(_files(path))
    for relative in inside:
        if relative.suffix.lower() in _CODE or relative.name == "adapter_config.json":
            what = "a part of another model" if relative.name == "adapter_config.json" else "code, or can run code"
            raise DataError(
                f"{relative} in {path.name} is {what}, and only safetensors weights and JSON are taken in; convert the "
                "weights to safetensors (save_pretrained does), or take the file out of a copy of the folder"
            )
    names = {str(relative) for relative in inside}
    for name in _NEEDED:
        if name not in names:
            raise DataError(f"{path.name} has no {name}; save model and tokenizer again with save_pretrained")
    if _WEIGHTS not in names and _INDEX not in names:
        raise DataError(f"{path.name} has neither {_WEIGHTS} nor {_INDEX}; save the model with save_pretrained")
    weights = [_WEIGHTS] if _WEIGHTS in names else [_INDEX, *_named_shards(path, names)]
    licences = {name for name in names if name.startswith(_TAKEN_BEGINNINGS) and "/" not in name}
    chosen = sorted({*weights, *licences, *names.intersection(_TAKEN)})
    return chosen, sorted(names - set(chosen))


def _files(path: Path) -> "list[Path]":
    """Files below a folder, hidden ones left out; a link that leads outside, or to no file, is refused."""
    root, found = path.resolve(), []
    for place, folders, names in os.walk(path, followlinks=False):
        folders[:] = [name for name in sorted(folders) if not name.startswith(".")]
        for name in sorted([*names, *(f for f in folders if os.path.islink(os.path.join(place, f)))]):
            if name.startswith("."):
                continue
            file = Path(place) / name
            relative = file.relative_to(path)
            if file.is_symlink() and not (file.resolve().is_relative_to(root) and file.is_file()):
                raise DataError(
                    f"{relative} in {path.name} is a link that leads out of the folder; copy the folder with its "
                    "files (cp -rL) and adopt the copy"
                )
            if not file.is_file():
                raise DataError(f"{relative} in {path.name} is no plain file; take it out of a copy of the folder")
            found.append(relative)
    return found


def _named_shards(path: Path, names: set[str]) -> list[str]:
    shards = sorted(set(_weight_map(path).values()))
    for shard in shards:
        if shard not in names or "/" in shard or not shard.endswith(".safetensors"):
            raise DataError(
                f"{_INDEX} names {shard[:80]!r}, which is no .safetensors file of {path.name}; copy all shards into "
                "the folder"
            )
    return shards


def _weight_map(path: Path) -> dict[str, str]:
    found = read_json(path / _INDEX).get("weight_map")
    if not isinstance(found, dict) or not found or not all(isinstance(name, str) for name in found.values()):
        raise DataError(f"{_INDEX} has no weight_map from tensors to files; save the model again with save_pretrained")
    return found


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a model folder; DataError when it is none."""
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise DataError(f"{path.name} is no JSON object; save the model again with save_pretrained")
    return value


def check_files(folder: Path) -> None:
    """Refuse configs that ask for code, and weights that are not what their headers say."""
    for name in ("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json"):
        if (folder / name).is_file():
            _check_config(name, read_json(folder / name))
    files = sorted(folder.glob("*.safetensors"))
    tensors = {file.name: _tensors(file) for file in files}
    if (folder / _INDEX).is_file():
        for tensor, shard in _weight_map(folder).items():
            if tensor not in tensors.get(shard, ()):
                raise DataError(f"{_INDEX} says that {shard} holds {tensor[:80]}, which it does not; save it again")


def _check_config(name: str, values: dict[str, Any]) -> None:
    for key, value in _entries(values):
        if key in ("auto_map", "trust_remote_code", "custom_generate", "custom_pipelines") and value:
            raise DataError(
                f"{name} has {key}: the model needs code that comes with it, and none is run here; adopt a model of an "
                "architecture that transformers itself has"
            )
        if key == "quantization_config" and value:
            raise DataError(f"{name} has {key}: quantised weights cannot be trained on; adopt the original weights")
        if key.endswith("_implementation") and value is not None and value not in _IMPLEMENTATIONS:
            raise DataError(f"{name} asks for {key} {str(value)[:80]!r}, code from elsewhere; take the entry out")


def _entries(values: Any) -> "list[tuple[str, Any]]":
    """Every key of nested values with what stands under it."""
    if isinstance(values, dict):
        return [pair for key, value in values.items() for pair in ((str(key), value), *_entries(value))]
    return [pair for value in values for pair in _entries(value)] if isinstance(values, list) else []


def _tensors(file: Path) -> set[str]:
    """Names of a file's tensors; the library checks that the header parses and covers the file exactly."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as opened:
            names = set(opened.keys())
            dtypes = {opened.get_slice(name).get_dtype() for name in names}
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(
            f"{file.name} is no whole safetensors file ({str(error)[:120]}); copy it again, or convert the weights"
        ) from None
    if strange := sorted(dtypes.difference(_DTYPES)):
        raise DataError(f"{file.name} has weights of type {', '.join(strange)}; adopt weights in {', '.join(_DTYPES)}")
    return names
