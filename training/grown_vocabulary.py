"""A model whose vocabulary grew: old rows as they were, a row for each new piece from the old pieces it is made of.

A new piece's rows of embedding and head are the mean of those of the pieces that the old tokenizer cuts it into, so
that the model begins near what it would have read (mean of subwords, as for new words in Gee et al. 2022,
arXiv:2402.09977). Which ids are new stands in the tokenizer's record, what they are made of in its merges.
"""

import json
import logging
from typing import Any

import torch

from ingot.errors import IntegrityError, TrainingError
from ingot.refs import MixtureRef, TokensRef
from ingot.storage import Store
from training.checkpoints import CheckpointManifest

logger = logging.getLogger(__name__)


def new_pieces(store: Store, data: TokensRef | MixtureRef, start: CheckpointManifest) -> dict[int, list[int]]:
    """By id of a piece that the tokenizer of the data has and the start's has not, the old ids it is made of, in order.

    Empty for one and the same tokenizer. Raises TrainingError when the data's does not extend the start's.
    """
    if data.tokenizer_digest == start.tokenizer_digest:
        return {}
    record_key = f"{data.tokenizer_key}/manifest.json"
    record = store.read_record(record_key) if store.exists(record_key) else {}
    if (record.get("digest"), record.get("extends")) != (data.tokenizer_digest, start.tokenizer_digest):
        raise TrainingError(
            f"the start has tokenizer {start.tokenizer_digest[:12]}, the tokens have {data.tokenizer_digest[:12]}, "
            "which does not extend it; tokenize the corpus with the checkpoint's tokenizer"
        )
    return pieces_of(store.read_bytes(f"{data.tokenizer_key}/tokenizer.json"), int(record["first_new_id"]))


def pieces_of(tokenizer_json: bytes, first_new_id: int) -> dict[int, list[int]]:
    """The same from the tokenizer.json alone: every id from first_new_id on is a merge of two pieces."""
    model = json.loads(tokenizer_json)["model"]
    ids: dict[str, int] = model["vocab"]
    made_of: dict[int, list[int]] = {}
    for left, right in model["merges"]:
        index = ids[left + right]
        if index >= first_new_id and index not in made_of:
            made_of[index] = [old for part in (ids[left], ids[right]) for old in made_of.get(part, [part])]
    if len(made_of) != sum(index >= first_new_id for index in ids.values()):
        raise IntegrityError(
            f"the tokenizer has new pieces without a merge ({len(made_of):,} have one); restore it from a backup"
        )
    return made_of


def grown(state: dict[str, torch.Tensor], model: Any, pieces: dict[int, list[int]]) -> dict[str, torch.Tensor]:
    """The weights of a smaller vocabulary as those of the model; rows that are nobody's keep the model's own."""
    tables = {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}
    result = dict(state)
    # A tied head has a name of its own in a state dict, and would put the old rows back.
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if id(parameter) in tables and name in state:
            result[name] = _grown_rows(state[name], parameter.detach(), pieces)
    logger.info("the vocabulary grew by %d pieces, each begun as the mean of its old pieces", len(pieces))
    return result


def _grown_rows(old: torch.Tensor, fresh: torch.Tensor, pieces: dict[int, list[int]]) -> torch.Tensor:
    rows = fresh.clone().to(old.device)
    rows[: len(old)] = old.to(rows.dtype)
    for index, parts in pieces.items():
        rows[index] = old[parts].float().mean(dim=0)
    return rows
