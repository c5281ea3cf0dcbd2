"""Several corpora in one run: the order, the shares, the caps, and the very same order as before for one alone."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from ingot.errors import DataError, RecipeError
from ingot.refs import MixtureRef, TokensRef
from tests.training.conftest import TINY, Place, RankRunner, tokens_ref, write_shard
from training.batches import Sampler, TokenStream, data_digest, sampler_for
from training.checkpoints import read_manifest
from training.data_parts import DataPart, integer_weights
from training.mixtures import MixtureSampler, open_stream, read_sampler, sampler_of
from training.stages.pretrain import identity_values

WEIGHTS = (0.7, 0.2, 0.1)


def token_set(root: Path, name: str, num_tokens: int, *, seed: int) -> TokensRef:
    ids = np.random.default_rng(seed).integers(1, 99, size=num_tokens - 1).tolist()
    shards = (write_shard(root, f"{name}-{seed}".rjust(64, "0"), [[*ids, 0]]),)
    return tokens_ref(shards, vocab_size=100).model_copy(
        update={"corpus": name, "corpus_root_digest": f"{seed}" * 64}
    )  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> MixtureRef:
    """Three corpora of 37, 37 and 10 windows of 8 tokens."""
    sizes = {"new@1": 37 * 8 + 1, "old@3": 37 * 8 + 5, "notes@2": 10 * 8 + 1}
    return MixtureRef(parts=tuple(token_set(tmp_path, n, s, seed=i) for i, (n, s) in enumerate(sizes.items())))


def parts(*caps: dict[str, float], weights: tuple[float, ...] = WEIGHTS) -> list[DataPart]:
    names = ("this", "old@3", "notes@2")
    given = [*caps, *[{}] * (3 - len(caps))]
    return [DataPart(corpus=n, weight=w, **c) for n, w, c in zip(names, weights, given, strict=True)]


def sampler(data: MixtureRef, *caps: dict[str, float], steps: int = 40) -> MixtureSampler:
    made = sampler_of(data, parts(*caps), seed=3, sequence_length=8, rows_per_step=8, total_steps=steps)
    assert isinstance(made, MixtureSampler)
    return made


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 4, 8])
def test_the_ranks_of_any_world_share_the_same_global_order_at_every_step(data: MixtureRef, num_ranks: int) -> None:
    order = sampler(data)
    for step in range(60):
        shares = [order.rank_windows(step, rank=rank, num_ranks=num_ranks) for rank in range(num_ranks)]
        assert np.array_equal(np.concatenate(shares), order.windows(step))


def test_a_mixture_resumed_from_its_record_at_any_step_reads_the_same_windows(data: MixtureRef) -> None:
    order = sampler(data, {}, {"max_epochs": 2})
    uninterrupted = [order.windows(step).tolist() for step in range(60)]
    for start in range(60):
        resumed = read_sampler(order.record())
        assert [resumed.windows(step).tolist() for step in range(start, min(start + 3, 60))] == uninterrupted[
            start : start + 3
        ]


def test_every_epoch_of_every_corpus_reads_each_of_its_windows_once(data: MixtureRef) -> None:
    order = sampler(data)
    read = np.concatenate([order.windows(step) for step in range(80)])
    for first, size in ((0, 37), (37, 37), (74, 10)):
        own = read[(read >= first) & (read < first + size)]
        whole = own[: len(own) // size * size].reshape(-1, size)
        assert len(whole) >= 3
        for epoch in whole:
            assert np.array_equal(np.sort(epoch), np.arange(first, first + size))


def test_two_corpora_of_one_size_are_not_read_in_one_order(data: MixtureRef) -> None:
    order = sampler(data)
    read = np.concatenate([order.windows(step) for step in range(80)])
    first, second = read[read < 37][:37], read[(read >= 37) & (read < 74)][:37] - 37
    assert not np.array_equal(first, second)


def test_the_shares_are_exact_within_a_row_after_any_number_of_rows(data: MixtureRef) -> None:
    read = np.concatenate([sampler(data).windows(step) for step in range(80)])
    for part, weight in enumerate(WEIGHTS):
        counts = np.cumsum(np.searchsorted([0, 37, 74], read, side="right") - 1 == part)
        assert np.abs(counts - weight * np.arange(1, len(read) + 1)).max() < 1


def test_a_capped_corpus_is_read_so_often_and_the_others_take_its_share(data: MixtureRef) -> None:
    order = sampler(data, {}, {"max_epochs": 0.5}, {"max_tokens": 85})
    read = np.concatenate([order.windows(step) for step in range(40)])
    assert [(read < 37).sum(), ((read >= 37) & (read < 74)).sum(), (read >= 74).sum()] == [320 - 18 - 10, 18, 10]
    assert [part.max_rows for part in order.parts] == [None, 18, 10]


def test_caps_that_leave_too_little_are_refused_with_the_numbers(data: MixtureRef) -> None:
    caps = [{"max_epochs": 2}, {"max_epochs": 1}, {"max_tokens": 160}]
    assert sampler(data, *caps, steps=16).shares.num_rows == 131  # 16 steps of 8 rows fit
    with pytest.raises(RecipeError) as refused:
        sampler(data, *caps, steps=17)
    assert str(refused.value) == (
        "train.tokens asks for 1,088 tokens and the caps of its corpora leave 1,048: new@1 592 (2 epochs of 296); "
        "old@3 296 (1 epochs of 296); notes@2 160 (2 epochs of 80). Lower tokens to 1,024, or raise max_epochs or "
        "max_tokens"
    )
    with pytest.raises(RecipeError, match="caps of old@3 leave less than one window of 8 tokens"):
        sampler(data, {}, {"max_tokens": 7})


def test_one_corpus_has_the_order_and_the_record_it_always_had(data: MixtureRef) -> None:
    alone = data.parts[0]
    options = {"seed": 3, "sequence_length": 8, "rows_per_step": 8}
    for given in ((), [DataPart(corpus="this", max_epochs=9)]):
        made = sampler_of(alone, given, **options, total_steps=40)
        assert isinstance(made, Sampler) and made == sampler_for(alone, **options)
        assert made.record()["kind"] == "feistel-windows/1"
    with pytest.raises(RecipeError, match=r"leave 296: new@1 296 \(1 epochs of 296\)"):
        sampler_of(alone, [DataPart(corpus="this", max_epochs=1)], **options, total_steps=40)


def test_the_windows_of_a_mixture_are_those_of_its_corpora(data: MixtureRef, tmp_path: Path) -> None:
    from ingot.storage import Store

    store = Store(str(tmp_path))
    stream = open_stream(store, data, sequence_length=8)
    windows = np.array([80, 0, 37, 36, 73, 74, 0])
    ids = stream.read_windows(windows, 8)
    alone = [TokenStream(store, part) for part in data.parts]
    expected = [(2, 6), (0, 0), (1, 0), (0, 36), (1, 36), (2, 0), (0, 0)]
    assert ids.tolist() == [alone[part].read_windows(np.array([w]), 8)[0].tolist() for part, w in expected]


def test_weights_are_exact_proportions_and_unbounded_digits_are_refused() -> None:
    assert integer_weights(parts()) == [7, 2, 1]
    assert integer_weights(parts(weights=(1, 1, 1))) == [1, 1, 1]
    assert integer_weights(parts(weights=(0.45, 1.35, 0.9))) == [1, 3, 2]
    with pytest.raises(ValueError, match="more digits than shares are kept to; write four, e.g. 0.3333"):
        DataPart(corpus="this", weight=1 / 3)
    with pytest.raises(ValueError, match="repeat only after 1,000,003 rows; write them with fewer digits"):
        integer_weights(parts(weights=(1_000_000, 1, 2)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([{"corpus": "this"}, {"corpus": "this", "weight": 2}], "data names this twice"),
        ([{"corpus": "old@3"}], "data names old@3 and not the recipe's own corpus; add '- corpus: this'"),
        ([{"corpus": "this", "weight": 0}], "greater than 0"),
        ([{"corpus": "Old Docs"}], "should match pattern"),
        ([], "at least 1 item"),
    ],
)
def test_a_recipe_that_names_no_mixture_is_refused(given: list[dict], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TINY.model_validate({**TINY.model_dump(), "data": given})


def test_the_identity_holds_weights_and_caps_but_no_names_and_nothing_new_without_a_mixture() -> None:
    assert identity_values(TINY)["data"] is None  # left out of a fingerprint
    mixed = TINY.model_copy(update={"data": tuple(parts({"max_epochs": 2}))})
    assert identity_values(mixed)["data"][0] == {"weight": 0.7, "max_epochs": 2.0, "max_tokens": None}


def test_parts_of_two_tokenizers_are_no_mixture(data: MixtureRef) -> None:
    other = data.parts[1].model_copy(update={"tokenizer_digest": "0" * 64})
    with pytest.raises(ValidationError, match="a mixture of 2 tokenizers"):
        MixtureRef(parts=(data.parts[0], other))
    with pytest.raises(DataError, match="3 token sets .* for 1 entries"):
        sampler_of(data, [DataPart(corpus="this")], seed=0, sequence_length=8, rows_per_step=8, total_steps=1)


@pytest.fixture
def two(play: Place) -> MixtureRef:
    """The play and its first shard again, as an old corpus."""
    old = tokens_ref(play.tokens.shards[:1], vocab_size=play.tokens.vocab_size)
    old = old.model_copy(update={"corpus": "old@3", "corpus_root_digest": "9" * 64})
    return MixtureRef(parts=(play.tokens, old))


MIXED = TINY.model_copy(
    update={"data": (DataPart(corpus="this", weight=0.75), DataPart(corpus="old@3", weight=0.25, max_epochs=0.02))}
)


def test_a_run_on_a_mixture_killed_and_started_again_ends_with_the_same_weights(
    place: Place, two: MixtureRef, run_rank: RankRunner
) -> None:
    whole = place.job(MIXED, data=two, fingerprint="a" * 64)
    assert run_rank(whole) == 0
    broken = place.job(MIXED, data=two)
    assert run_rank(broken, crash_at="training.step.before@5") == -9
    assert run_rank(broken, crash_at="checkpoint.manifest.before:2") == -9
    assert run_rank(broken) == 0
    assert place.weights_sha256() == place.weights_sha256(fingerprint="a" * 64)
    made = read_manifest(place.store, f"checkpoints/{'a' * 64}/00000012")
    assert made.corpus == "play@1 + old@3" and made.data_digest == data_digest(two)
    assert made.sampler["kind"] == "mixture/1"
    assert [part["corpus"] for part in made.sampler["parts"]] == ["play@1", "old@3"]
    log = (place.run_dir / "rank0.log").read_text()
    # 96 rows of 32 tokens; the old corpus has 593 windows and gives 11 of them, a quarter of 44 rows.
    assert "reads play@1: 2,720 tokens, 88.5% of the stage, 0.07 epochs" in log
    assert "reads old@3: 352 tokens, 11.5% of the stage, 0.02 epochs, none after step 6, as its cap says" in log
