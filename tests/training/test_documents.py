"""With document masking a document in a window is computed as if it were alone."""

import pytest

from tests.training.conftest import TINY, Place, RankRunner
from training.stages.pretrain import identity_values

MASKED = TINY.model_copy(update={"document_masking": True})
WINDOWS = [
    [7, 8, 9, 0, 10, 11, 12, 13, 14, 0, 15, 16],
    [7, 0, 0, 17, 18, 19, 20, 21, 22, 23, 24, 0],
    list(range(30, 42)),
]


def documents(window: list[int]) -> list[tuple[int, int]]:
    """Where the window's documents begin and end, their end token included."""
    bounds = [0, *(index + 1 for index, token in enumerate(window) if token == 0), len(window)]
    return [(first, end) for first, end in zip(bounds, bounds[1:], strict=False) if end > first]


def test_positions_start_again_after_each_end_token() -> None:
    import torch

    from training.documents import document_positions

    assert document_positions(torch.tensor(WINDOWS)).tolist() == [
        [0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 0, 1],
        [0, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8],
        list(range(12)),
    ]


def test_logits_in_a_window_are_those_of_each_document_alone() -> None:
    import torch

    from training.documents import document_positions
    from training.models import ModelConfig, build_model

    shape = ModelConfig(family="llama", layers=2, width=32, heads=4, kv_heads=2)
    model = build_model(shape, vocab_size=64, context_length=12, seed=0).eval()
    ids = torch.tensor(WINDOWS)
    with torch.no_grad():
        packed = model(input_ids=ids, position_ids=document_positions(ids), use_cache=False).logits
        leaking = model(input_ids=ids, use_cache=False).logits
        for row, window in enumerate(WINDOWS):
            for first, end in documents(window):
                alone = model(input_ids=ids[row : row + 1, first:end], use_cache=False).logits[0]
                assert (packed[row, first:end] - alone).abs().max() < 1e-5
                if first:
                    assert (leaking[row, first:end] - alone).abs().max() > 1e-3


@pytest.mark.parametrize("chunk", [None, 64])
def test_a_run_with_masking_is_another_run_and_resumes_with_the_same_weights(
    chunk: int | None, clean: Place, place: Place, run_rank: RankRunner
) -> None:
    config = MASKED.model_copy(update={"loss_chunk_tokens": chunk})
    assert run_rank(place.job(config, fingerprint="1" * 64)) == 0
    losses = [line["loss"] for line in place.metrics()]
    assert losses[-1] < losses[0] - 0.5
    assert losses != [line["loss"] for line in clean.metrics()]
    assert run_rank(place.job(config), crash_at="training.step.before@7") == -9
    assert run_rank(place.job(config)) == 0
    assert place.weights_sha256() == place.weights_sha256(fingerprint="1" * 64)


def test_masking_is_part_of_the_identity_only_when_it_is_asked_for() -> None:
    assert "document_masking" not in identity_values(TINY)
    assert identity_values(MASKED)["document_masking"] is True
