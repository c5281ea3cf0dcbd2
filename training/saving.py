"""Checkpoints written beside training: the step copies what is to be saved, a thread writes it while steps go on.

The copy lies in main memory of its own (pinned for a GPU), as much as weights and moments take, used again for every
checkpoint. At most one checkpoint is being written; the next waits for it. What the thread cannot do is raised by the
training thread when it looks next. The files are those that a run writes which stops for them.
"""

import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import PreTrainedModel

from ingot.storage import Store
from training.checkpoints import CheckpointManifest, copy_files, key_of, save_checkpoint

logger = logging.getLogger(__name__)

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
WEIGHTS, INDEX, OPTIMIZER = "model.safetensors", "model.safetensors.index.json", "optimizer.safetensors"


@dataclass(frozen=True)
class Snapshot:
    """Everything a checkpoint will hold, at the moment it was taken."""

    weights: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]
    files: dict[str, bytes]
    """The small files, by name."""
    manifest: CheckpointManifest


def write_snapshot(store: Store, model: PreTrainedModel, tokenizer_key: str, snapshot: Snapshot) -> None:
    """Make the checkpoint's folder on local disk and put it into the store; the model gives config and names only."""
    key = key_of(snapshot.manifest.fingerprint, snapshot.manifest.step)
    num_bytes = sum(tensor.nbytes for tensors in (snapshot.weights, snapshot.optimizer) for tensor in tensors.values())
    with store.scratch(key, num_bytes) as folder:
        model.save_pretrained(folder, state_dict=dict(snapshot.weights))  # it takes the tensors out of the dict
        write_index(folder)
        copy_files(store, tokenizer_key, TOKENIZER_FILES, folder)
        save_file(snapshot.optimizer, folder / OPTIMIZER)
        for name, data in snapshot.files.items():
            (folder / name).write_bytes(data)
        save_checkpoint(store, folder, snapshot.manifest)
    logger.info("checkpoint of step %d written", snapshot.manifest.step)


def write_index(folder: Path) -> None:
    """Name the file of every weight beside the weights, where `save_pretrained` did not.

    vLLM takes every .safetensors file of a folder without an index for weights, the optimizer's moments too.
    """
    if (folder / INDEX).exists():
        return
    with safe_open(folder / WEIGHTS, "pt") as file:
        names = sorted(file.keys())
    with open(folder / WEIGHTS, "rb") as raw:
        header_bytes = 8 + int.from_bytes(raw.read(8), "little")
    total = (folder / WEIGHTS).stat().st_size - header_bytes
    index = {"metadata": {"total_size": total}, "weight_map": dict.fromkeys(names, WEIGHTS)}
    (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


class Saver:
    """Writes snapshots, beside training or at once; used by rank 0, idle on the others."""

    def __init__(self, write: Callable[[Snapshot], None], device: torch.device, *, beside: bool) -> None:
        """beside: write in a thread, from copies; else `save` returns when the checkpoint is in the store."""
        self._write = write
        self._device = device
        self._beside = beside
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._memory: dict[str, torch.Tensor] = {}

    def hold(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The tensors as they are now, for a snapshot: copies where training goes on meanwhile.

        Names must be unique among all that is held. Tensors that share memory share that of their copy, so that tied
        weights are still seen to be tied. Waits for the checkpoint being written, whose memory is used again.
        """
        if not self._beside:
            return {name: tensor.detach() for name, tensor in tensors.items()}
        self.wait()
        held: dict[str, torch.Tensor] = {}
        copied: dict[tuple[int, torch.Size], torch.Tensor] = {}
        for name, tensor in tensors.items():
            tensor = tensor.detach()
            place = (tensor.data_ptr(), tensor.shape)
            if place not in copied:
                copied[place] = self._memory_for(name, tensor).copy_(tensor, non_blocking=True)
            held[name] = copied[place]
        return held

    def free_memory(self) -> Callable[[str, torch.Tensor], torch.Tensor]:
        """Memory for a copy of a tensor by name, for whoever fills it; waits for the checkpoint being written."""
        self.wait()
        return self._memory_for

    def _memory_for(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        memory = self._memory.get(name)
        if memory is None or memory.shape != tensor.shape or memory.dtype != tensor.dtype:
            pinned = self._device.type == "cuda"
            memory = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=pinned)
            self._memory[name] = memory
        return memory

    def save(self, snapshot: Snapshot) -> None:
        """Write the snapshot, after the one before; raises what went wrong with that one."""
        self.wait()
        if not self._beside:
            self._write(snapshot)
            return
        # On a GPU the copies are only under way: whoever reads them waits for this moment of its work.
        copied = torch.cuda.current_stream(self._device).record_event() if self._device.type == "cuda" else None
        name = f"checkpoint-{snapshot.manifest.step}"
        self._thread = threading.Thread(target=self._run, args=(snapshot, copied), name=name)
        self._thread.start()

    def _run(self, snapshot: Snapshot, copied: "torch.cuda.Event | None") -> None:
        try:
            if copied is not None:
                copied.synchronize()
            self._write(snapshot)
        except BaseException as error:  # whatever it is, training must not go on without it
            self._error = error

    def check(self) -> None:
        """Raise what the thread could not do, once; costs nothing when all is well."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def wait(self) -> None:
        """Return when nothing is being written; raises what went wrong."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def close(self) -> None:
        """Let what is being written become whole at the end of a run, which may itself end in an error."""
        try:
            self.wait()
        except Exception:
            logger.exception("the checkpoint being written did not become whole")
