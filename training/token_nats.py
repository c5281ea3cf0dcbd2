"""The loss of every token of a few windows without gradients, for whoever looks at a model while it trains.

# B rows, T tokens, N = B * T, D width
"""

import contextlib
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from training.acceleration import Precision, autocast
from training.runs import Run

LOGIT_TOKENS = 1024


def token_nats(run: Run, ids_BT: Any, positions_BT: Any, precision: Precision | None) -> NDArray[np.float32]:
    """Nats of every target of the windows, row after row; precision as in the stage's config."""
    # Eager where training is compiled: for these shapes, and without gradients, it would be compiled once more.
    is_compiled = run.config.compile or run.device.type == "cuda"
    eager = torch.compiler.set_stance("force_eager") if is_compiled else contextlib.nullcontext()
    nats = []
    with torch.no_grad(), eager, autocast(run.device, precision):
        hidden_BTD = run.model.model(
            input_ids=ids_BT[:, :-1], position_ids=positions_BT, use_cache=False
        ).last_hidden_state
        # In pieces, so that the logits of a large vocabulary take little memory.
        for hidden_ND, targets_N in zip(
            hidden_BTD.flatten(0, 1).split(LOGIT_TOKENS), ids_BT[:, 1:].flatten().split(LOGIT_TOKENS), strict=True
        ):
            nats.append(F.cross_entropy(run.model.lm_head(hidden_ND).float(), targets_N, reduction="none"))
    return np.concatenate([part.cpu().numpy() for part in nats])
