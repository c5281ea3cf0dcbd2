"""Spikes are skipped as OLMo does, resumably."""

import json

import pytest

from tests.training.conftest import FINGERPRINT, TINY, Place, RankRunner
from tests.training.planted import dull_steps, with_noise
from training.spikes import SkipSpikes, SpikeWatch
from training.stages.pretrain import identity_values

SKIPS = TINY.model_copy(
    update={"tokens": 24 * 256, "skip_spikes": SkipSpikes(window=8, deviations=3.0), "log_every_steps": 1}
)


def watched(values: list[float], norms: list[float] | None = None) -> tuple[list[bool], SpikeWatch]:
    import torch

    watch = SpikeWatch(SkipSpikes(window=8), torch.device("cpu"), lasting_steps=3)
    norms = norms or [1.0 + 0.01 * (index % 3) for index in range(len(values))]
    pairs = zip(values, norms, strict=True)
    return [bool(watch.is_spike(torch.tensor(loss), torch.tensor(norm))) for loss, norm in pairs], watch


def steady(num: int) -> list[float]:
    return [2.0 + 0.01 * (index % 4) for index in range(num)]


def test_a_loss_six_deviations_above_the_last_ones_is_a_spike() -> None:
    assert watched([*steady(8), 2.07, 2.02, 2.5])[0] == [*[False] * 10, True]


def test_a_gradient_norm_above_the_last_ones_is_a_spike_too() -> None:
    assert watched(steady(9), [1.0, 1.1] * 4 + [9.0])[0] == [*[False] * 8, True]


def test_nothing_is_a_spike_before_half_a_window_was_seen() -> None:
    assert not any(watched([2.0, 2.01, 2.0, 50.0])[0])
    assert watched([2.0, 2.01, 2.0, 2.01, 50.0])[0][-1]


def test_a_fall_is_no_spike_and_neither_is_what_is_not_finite() -> None:
    assert not any(watched([*steady(8), 0.1])[0])
    assert not any(watched([*steady(8), float("nan")])[0])


def test_a_new_level_is_accepted_when_it_lasts() -> None:
    spikes, watch = watched([*steady(8), *[3.0] * 6])
    assert spikes[8] and not spikes[-1]
    assert watch.skipped.item() == sum(spikes)


def test_a_watch_restored_from_json_goes_on_as_if_it_had_seen_all() -> None:
    import torch

    values = [*steady(9), 5.0, *steady(4), 4.0]
    _, whole = watched(values)
    _, half = watched(values[:10])
    restored = SpikeWatch(SkipSpikes(window=8), torch.device("cpu"), lasting_steps=3)
    restored.restore(json.loads(json.dumps(half.record())))
    for index in range(10, len(values)):
        restored.is_spike(torch.tensor(values[index]), torch.tensor(1.0 + 0.01 * (index % 3)))
    assert restored.record() == whole.record()


def test_the_update_of_a_step_that_reads_noise_is_not_made(place: Place, run_rank: RankRunner) -> None:
    noisy = with_noise(dull_steps(), 20).write(place, "a")
    assert run_rank(noisy.job(SKIPS)) == 0
    lines = {line["step"]: line for line in noisy.metrics()}
    assert lines[21]["loss"] > lines[20]["loss"] + 1  # the update numbered 20 is the 21st
    assert lines[20]["skipped_updates"] == 0 and lines[21]["skipped_updates"] == 1
    moments = place.store.read_bytes(f"checkpoints/{FINGERPRINT}/{24:08d}/state.json")
    assert json.loads(moments)["spikes"]["skipped"] == 1
    # The update is missing, nothing else: without it the 22nd loss goes on where the 20th was.
    plain = noisy.job(SKIPS.model_copy(update={"skip_spikes": None}), fingerprint="1" * 64)
    assert run_rank(plain) == 0
    made = {line["step"]: line for line in noisy.metrics()}
    assert made[21]["loss"] == lines[21]["loss"] and made[22]["loss"] != lines[22]["loss"]
    assert lines[22]["loss"] < made[22]["loss"]


@pytest.mark.parametrize("killed_at", [20, 22])
def test_a_run_that_skips_ends_with_the_same_weights_when_it_was_killed(
    killed_at: int, place: Place, run_rank: RankRunner
) -> None:
    noisy = with_noise(dull_steps(), 20).write(place, "a")
    assert run_rank(noisy.job(SKIPS, fingerprint="1" * 64)) == 0
    assert run_rank(noisy.job(SKIPS), crash_at=f"training.step.before@{killed_at}") == -9
    assert run_rank(noisy.job(SKIPS)) == 0
    assert noisy.weights_sha256(24) == noisy.weights_sha256(24, fingerprint="1" * 64)


def test_skipping_is_part_of_the_identity_only_when_it_is_asked_for() -> None:
    assert "skip_spikes" not in identity_values(TINY)
    assert identity_values(SKIPS)["skip_spikes"] == {"window": 8, "deviations": 3.0}
