"""Documents inside a window: where each begins, so that attention does not cross into another.

# B rows, T tokens

transformers reads from positions that start again where one sequence ends and the next begins, and makes the mask
block-diagonal for its sdpa attention (`masking_utils.find_packed_sequence_indices`). The mask is T x T for each row.
"""

import torch

from training.models import EOS_ID


def document_positions(ids_BT: torch.Tensor, eos_id: int = EOS_ID) -> torch.Tensor:
    """Each token's place in its document, counted from the window's start or from after the last end token."""
    places_T = torch.arange(ids_BT.shape[1], device=ids_BT.device)
    begins_BT = torch.zeros_like(ids_BT)
    begins_BT[:, 1:] = torch.where(ids_BT[:, :-1] == eos_id, places_T[1:], 0)
    return places_T - begins_BT.cummax(dim=1).values
