"""Weights of an adopted model, and of what was trained on from one, into the model of a rank.

The architectures name and pack their weights in files otherwise than in memory (experts, fused projections), so
transformers reads them, into a second model that is dropped again: twice the weights in memory for a moment.
"""

from pathlib import Path
from typing import Any

import torch

from ingot.errors import TrainingError
from training.adopted_shape import load_model
from training.grown_vocabulary import grown

_PROBE_TOKENS = 16


def load_adopted(model: Any, folder: Path, key: str, pieces: dict[int, list[int]] | None = None) -> None:
    """Copy the weights of a verified folder into the model; pieces are what its vocabulary lacks.

    Raises DataError when weights are not all there.

    Raises TrainingError when what the loop computes from them is not what the architecture computes.
    """
    loaded = load_model(str(folder)).eval()
    _check_logits(loaded, key)
    state = loaded.state_dict()
    try:
        model.load_state_dict(grown(state, model, pieces) if pieces else state)
    except RuntimeError as error:
        raise TrainingError(
            f"{key} has weights of another shape than the run's model; start it from the model it was made with"
        ) from error


@torch.no_grad()
def _check_logits(model: Any, key: str) -> None:
    """The loop runs blocks and head by itself; what an architecture does between or behind them must be nothing."""
    rows = model.get_input_embeddings().weight.shape[0]
    ids_BT = torch.arange(_PROBE_TOKENS)[None] % rows
    ours = model.lm_head(model.model(input_ids=ids_BT, use_cache=False).last_hidden_state)
    theirs = model(input_ids=ids_BT, use_cache=False).logits
    if not torch.allclose(ours, theirs, rtol=1e-3, atol=1e-3):
        raise TrainingError(
            f"{key}: {type(model).__name__} computes other logits than its blocks and head give (largest difference "
            f"{(ours - theirs).abs().max().item():.3g}), which this loop cannot train; adopt another architecture"
        )
