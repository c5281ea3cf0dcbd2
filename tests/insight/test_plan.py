"""A plan's prediction beside what then comes; and what will not fit is refused."""

import json
import math
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from datasets_pipeline.insight import plan as planning
from datasets_pipeline.insight.plan import Plan, plan
from datasets_pipeline.insight.process_meter import Meter
from datasets_pipeline.insight.sample import Draw, kind_of
from datasets_pipeline.parallel import InProcessPool
from datasets_pipeline.sources.base import FileEntry
from datasets_pipeline.tokens import TokenizerRef, tokenize, train_tokenizer
from ingot import manifest
from ingot.config import TokenizerConfig
from interface.cli import main
from tests.curation.pages import RAW_DOCUMENTS, Corpus, recipe_of
from tests.curation.road import Road

NOW = datetime(2026, 11, 28, tzinfo=UTC)
RULES = [
    {"rule": "language", "keep": ["en", "de", "fr", "es", "it", "pt"]},
    {"rule": "length", "min_words": 60},
    {"rule": "gopher_quality", "max_non_alpha_words_ratio": 0.6},
    {"rule": "gopher_repetition"},
    {"rule": "pii"},
]
BOUND = 0.2


def planned(
    road: Road,
    *,
    at_least: int,
    last: manifest.Manifest | None = None,
    tokenizer: TokenizerRef | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Plan:
    return plan(
        road.store, road.recipe, road.settings, InProcessPool(), now=NOW, share=0.001, at_least=at_least, last=last,
        tokenizer=tokenizer, on_progress=on_progress,
    )  # fmt: skip


def road_of(folder: Path, names: Sequence[str]) -> Road:
    """A road over whole sites of the shared documents."""
    for name in names:
        path = RAW_DOCUMENTS / f"{name}.tar.xz"
        if not path.is_file():
            pytest.skip(f"needs {path.name} of the shared data (../shared/data/raw_documents), which is not here")
        with tarfile.open(path) as members:
            members.extractall(folder / "documents" / name, filter="data")
    sources = [{"name": name, "rank": rank} for rank, name in enumerate(names)]
    recipe = recipe_of(folder / "documents", sources, rules=RULES, heldout={"share": 0.02}, shards={"cut_bits": 10})
    return Road(Corpus(folder / "documents", recipe), folder / "road", unit_bytes=1 << 20)


def off(predicted: float, real_: float) -> float:
    return abs(predicted - real_) / max(1.0, abs(real_))


def test_a_plan_on_a_sample_of_real_files_is_within_stated_bounds_of_what_comes(tmp_path: Path) -> None:
    road = road_of(tmp_path, ("helm-docs", "cncf-glossary"))
    with Meter() as meter:
        night = road.run()
    size = _size(road)
    found = planned(road, at_least=250, last=night.manifest)
    assert _size(road) == size, "a plan writes to the store"
    assert found.files_read < found.files / 3 and not found.is_whole
    books, statistics = night.manifest.identity.accounting, night.manifest.identity.statistics
    waterfall = {f"{rule}: {reason}": num for rule, reason, num in statistics["waterfall"]}
    drops = {name: num for name, num in waterfall.items() if not name.startswith(("dedup", "heldout"))}
    errors = {
        "documents": off(found.documents, books["documents"]),
        "let through": off(found.passed, books["documents"] - sum(drops.values())),
        "drops": off(sum(found.drops.values()), sum(drops.values())),
        "kept": off(found.kept, books["kept"]),
        "bytes kept": off(found.kept_bytes, sum(row["kept_bytes"] for row in statistics["source"].values())),
        "store": off(found.store_bytes, size),
    }
    assert {name: f"{value:.1%}" for name, value in errors.items() if value > BOUND} == {}
    # One reason is as sure as the number of its documents in the sample: three standard errors.
    for name, num in drops.items():
        drawn = num * found.files_read / found.files
        if drawn >= 10:
            assert off(found.drops.get(name, 0), num) < 3 / math.sqrt(drawn), name
    # A few seconds, and other work on the machine: each of the two moves by a third.
    assert meter.cost.cpu_seconds / 2 < sum(found.cpu_seconds.values()) < 2 * meter.cost.cpu_seconds
    assert meter.cost.peak_bytes / 3 < found.peak_bytes < 3 * meter.cost.peak_bytes


def _size(road: Road) -> int:
    return sum(path.stat().st_size for path in Path(road.store.root).rglob("*") if path.is_file())


def test_a_plan_that_reads_everything_is_what_the_run_then_does(road: Road) -> None:
    told: list[tuple[str, int, int]] = []
    found = planned(road, at_least=1000, on_progress=lambda *said: told.append(said))
    assert [(what, done) for what, done, _ in told if what == "stages over the sample"] == [
        ("stages over the sample", done) for done in range(5)
    ]
    assert found.is_whole and found.files == found.files_read
    night = road.run()
    identity = night.manifest.identity
    waterfall = {f"{rule}: {reason}": num for rule, reason, num in identity.statistics["waterfall"]}
    assert found.documents == identity.accounting["documents"]
    assert found.drops == {n: num for n, num in waterfall.items() if not n.startswith(("dedup", "heldout"))}
    assert found.duplicates == sum(num for name, num in waterfall.items() if name.startswith("dedup.near"))
    assert found.duplicates + found.excluded + found.heldout + found.kept == found.passed
    files = Counter(reason for look in night.looks for reason, num in look.reasons.items() for _ in range(num))
    assert found.quarantined == dict(files) and found.tokens > 0
    # By the tokenizer that a start brings, which is not the recipe's.
    small = train_tokenizer(road.store, night.manifest, TokenizerConfig(vocab_size=260))
    of_start = tokenize(road.store, night.ref.name, night.manifest, small, InProcessPool())
    again = planned(road, at_least=1000, tokenizer=small)
    per_byte = of_start.num_tokens / of_start.num_bytes
    assert again.tokens / again.kept_bytes == pytest.approx(per_byte, rel=0.02)
    assert per_byte > 1.3 * found.tokens / found.kept_bytes


def test_the_sample_is_the_same_in_every_run_and_a_part_of_it_is_its_beginning() -> None:
    listing = [FileEntry(f"{n:04}.{'md' if n % 3 else 'html'}", size=100 + n) for n in range(3000)]
    whole, part, again = (Draw("wiki", 0.001, 200, part) for part in (1.0, 0.25, 1.0))
    drawn = whole(listing)
    assert drawn == again(list(listing)) and len(drawn) == 200
    assert {e.uri for e in part(listing)} < {e.uri for e in drawn}
    assert {name: kind.files for name, kind in whole.kinds.items()} == {"md": 2000, "html": 1000}
    assert {name: kind.drawn_files for name, kind in whole.kinds.items()} == {"md": 133, "html": 67}
    assert [e.uri for e in drawn] == sorted(e.uri for e in drawn)
    assert [e.uri for e in Draw("other", 0.001, 200)(listing)] != [e.uri for e in drawn]


def test_huge_files_do_not_make_the_sample_huge() -> None:
    listing = [FileEntry(f"{n:03}.jsonl", size=64 << 20) for n in range(500)]
    drawn = Draw("rows", 0.001, 400)(listing)
    assert len(drawn) == 4
    assert kind_of("a/b.JSONL@0-100") == "jsonl" and kind_of("a.d/README") == "" and kind_of(".hidden") == ""


def test_what_will_not_fit_is_refused_with_the_remedy(
    road: Road, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import yaml

    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(road.corpus.recipe))
    for name, value in (("STORE", road.store.root), ("HOME", str(tmp_path / "home")), ("WORKERS", "0")):
        monkeypatch.setenv(f"INGOT_{name}", value)
    command = ["plan", str(tmp_path / "recipe.yaml")]
    assert main(command) == 0
    assert "memory" in capsys.readouterr().out
    monkeypatch.setattr(planning, "available_bytes", lambda: 1000)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(planning.shutil, "disk_usage", lambda place: type(usage)(usage.total, usage.total, 1000))
    assert main([*command, "--json"]) == 3
    out, err = capsys.readouterr()
    told: dict[str, Any] = json.loads(out)["curation"]
    assert len(told["refusals"]) == 2
    assert "INGOT-WILL-NOT-FIT: the run needs about" in err and "INGOT_WORKERS" in err and "INGOT_STORE" in err
    assert not list((tmp_path / "home" / "scratch").glob("*/0.02")), "the scratch store stays behind"


def test_a_large_model_far_off_the_rules_is_refused_with_what_to_set(
    road: Road, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import yaml

    for name, value in (("STORE", road.store.root), ("HOME", str(tmp_path / "home")), ("WORKERS", "0")):
        monkeypatch.setenv(f"INGOT_{name}", value)
    stage = {"stage": "pretrain", "model": {"family": "llama", "layers": 12, "width": 768}, "tokens": 2_000_000_000}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**road.corpus.recipe, "train": [stage]}))
    assert main(["plan", str(path)]) == 2
    out, err = capsys.readouterr()
    assert "INGOT-RECIPE: train.0.batch_tokens 4,096 is more than 3 times below what 3 rules say" in err
    assert "488,282" in out and "arXiv:2503.04715" in out
    path.write_text(yaml.safe_dump({**road.corpus.recipe, "train": [{**stage, "batch_tokens": 131_072}]}))
    assert main(["plan", str(path), "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["training"]
    assert told["cost"]["hours"] > 1 and "not probed: it would take about" in told["cost"]["speed_basis"]
    assert {row["name"]: row["value"] for row in told["values"]}["steps"] == 15_259 and told["refusals"] == []


def test_a_start_a_gpu_and_a_price_that_are_none_are_refused_before_a_file_is_read(
    road: Road, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import yaml

    for name, value in (("STORE", road.store.root), ("HOME", str(tmp_path / "home")), ("WORKERS", "0")):
        monkeypatch.setenv(f"INGOT_{name}", value)
    stage = {"stage": "continued_pretrain", "start": "adopted/none", "tokens": 10_000}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**road.corpus.recipe, "train": [stage]}))
    assert main(["plan", str(path), "--no-probe"]) == 4
    out, err = capsys.readouterr()
    assert "adopted/none does not exist" in err and out == ""
    path.write_text(yaml.safe_dump(road.corpus.recipe))
    assert main(["plan", str(path), "--gpu", "Z9"]) == 2
    out, err = capsys.readouterr()
    assert "--gpu 'Z9' is unknown; known: B200" in err and out == ""
    assert main(["plan", str(path), "--gpu", "H200", "--probe"]) == 2
    out, err = capsys.readouterr()
    assert "--probe measures this machine, and --gpu H200 plans for another" in err and out == ""
    monkeypatch.setenv("INGOT_PRICE_PER_KWH", "dear")
    assert main(["plan", str(path)]) == 2
    out, err = capsys.readouterr()
    assert "INGOT_PRICE_PER_KWH is 'dear'" in err and out == ""


def test_hours_give_a_train_section_that_the_plan_accepts_with_its_price(
    road: Road, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import yaml

    for name, value in (("STORE", road.store.root), ("HOME", str(tmp_path / "home")), ("WORKERS", "0")):
        monkeypatch.setenv(f"INGOT_{name}", value)
    stage = {"stage": "pretrain", "model": {"family": "llama", "layers": 2, "width": 64}, "tokens": 6_000,
             "sequence_length": 16}  # fmt: skip
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**road.corpus.recipe, "train": [{**stage, "batch_tokens": 64}]}))
    command = ["plan", str(path), "--no-probe"]
    monkeypatch.setenv("INGOT_GPUS", "0")
    assert main([*command, "--set", "train.0.gpus=1"]) == 0
    warning = "warning: train.0.gpus asks for 1 and this machine has 0, so a training here is refused"
    assert warning in capsys.readouterr().out
    assert main([*command, "--gpu", "H200", "--set", "train.0.gpus=1"]) == 0
    assert "train.0.gpus asks" not in capsys.readouterr().out
    assert main([*command, "--max-hours", "2"]) == 0
    section = capsys.readouterr().out.partition("The stage that fits")[2].partition("train:")[2]
    train = yaml.safe_load("train:" + section.partition("  no larger")[0])
    path.write_text(yaml.safe_dump({**road.corpus.recipe, **train}))
    monkeypatch.setenv("INGOT_PRICE_PER_KWH", "0.3")
    assert main([*command, "--json", "--price-per-hour", "2"]) == 0
    told = json.loads(capsys.readouterr().out)
    (planned_stage,), cost = told["training"], told["training"][0]["cost"]
    assert planned_stage["refusals"] == [] and told["data"]["tokens_basis"] == "of the whole corpus"
    assert cost["cost"] == pytest.approx(2 * cost["hours"] + 0.3 * cost["kwh"])
    assert planned_stage["loss"]["is_extrapolation"]
    assert main(["plan", str(path), "--max-hours", "-1"]) == 2
    assert main([*command, "--gpu", "H200"]) == 0
    told_text = capsys.readouterr().out
    assert "1 x NVIDIA H200, 141 GB each" in told_text
    assert "of another machine than this one, so it is not probed" in told_text and "--probe measures" not in told_text


def test_the_meter_sees_the_work_of_children_that_live_on() -> None:
    import subprocess
    import sys

    code = (
        "import time\nx = bytearray(80 << 20)\nend = time.process_time() + 0.5\n"
        "while time.process_time() < end: pass\nprint('x', flush=True)\ntime.sleep(60)"
    )
    with Meter() as meter:
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert child.stdout is not None and child.stdout.readline()
    child.kill()
    child.wait()
    assert 0.4 < meter.cost.cpu_seconds < 5 and meter.cost.peak_bytes > 80 << 20

