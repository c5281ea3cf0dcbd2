"""How a step is computed: its precision, and blocks compiled one by one.

One block is compiled and its code serves all: blocks of one shape differ in their weights alone, so start-up does not
grow with depth. Names of weights and so checkpoints stay as they are. torch is imported on use.
"""

import contextlib
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

Precision = Literal["bfloat16", "float32"]


def in_bfloat16(device: "torch.device", precision: Precision | None) -> bool:
    """Whether matrix products are computed in bfloat16: as asked for, else on a GPU."""
    return precision == "bfloat16" or (precision is None and device.type == "cuda")


def autocast(device: "torch.device", precision: Precision | None) -> contextlib.AbstractContextManager[Any]:
    """Where matrix products are computed in bfloat16; weights, their gradients and the loss stay float32.

    None is bfloat16 on a GPU and float32 on a CPU: there bfloat16 is slow where the units are missing, and
    rounds by machine.
    """
    import torch

    if not in_bfloat16(device, precision):
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def compile_blocks(blocks: "Iterable[torch.nn.Module]", device: "torch.device", wanted: bool | None) -> bool:
    """Compile each block in place if wanted, for exact shapes; None means on a GPU. Whether it was done.

    The code is made at the first step; a part that cannot be compiled runs as it is.
    """
    if wanted is None:
        wanted = device.type == "cuda"
    if wanted:
        for block in blocks:
            block.compile(dynamic=False)
        logger.info("blocks are compiled at the first step")
    return wanted
