"""E-mail and IP redaction: what is found, where exactly, and what is left alone."""

import gzip
import json
import time
from pathlib import Path

import pyarrow as pa
import pytest

from datasets_pipeline.rules import pii
from ingot.schemas import SPAN
from tests.features.feature_rows import features_of
from tests.rules.verdict_rows import rows

PRESIDIO = Path(__file__).parents[3] / "shared" / "data" / "pii" / "presidio_synth.jsonl.gz"


def found_by(config: pii.Config, text: pa.Array | pa.ChunkedArray) -> pa.Table:
    return pii.find_spans(config, pa.table({"text": text}), bytes(32))


def spans_of(text: str, **options: object) -> list[dict]:
    return found_by(pii.Config(**options), pa.array([text], pa.large_string()))["spans"].to_pylist()[0]


def found_in(text: str, **options: object) -> list[str]:
    data = text.encode()
    return [data[span["start"] : span["end"]].decode() for span in spans_of(text, **options)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("write to anna.b+c@uni-köln.de, please", ["anna.b+c@uni-köln.de"]),
        ("<a href='mailto:jo@firma.co.uk'>jo@firma.co.uk</a>", ["jo@firma.co.uk", "jo@firma.co.uk"]),
        ("连系foo@bar.cn谢谢", ["foo@bar.cn"]),
        ("jörg.müller@web.de", ["jörg.müller@web.de"]),
        ("ends with a dot: x@y.org.", ["x@y.org"]),
        ("user=x@y.org&a=b", ["x@y.org"]),
        ("two a@b.com,c@d.com", ["a@b.com", "c@d.com"]),
        ("an address 81.2.69.142.", ["81.2.69.142"]),
        ("http://81.2.69.142:8080/x 81.2.69.0/24", ["81.2.69.142", "81.2.69.0"]),
        ("81.2.69.142-81.2.69.145", ["81.2.69.142", "81.2.69.145"]),
        ("地址81.2.69.142。", ["81.2.69.142"]),
        ("[2a00:1450:4001:81b::200e]:443", ["2a00:1450:4001:81b::200e"]),
        ("2a00:1450:4001:081b:0000:0000:0000:200e", ["2a00:1450:4001:081b:0000:0000:0000:200e"]),
        ("::ffff:81.2.69.142", ["::ffff:81.2.69.142"]),
    ],
)
def test_addresses_are_found_with_their_exact_bytes(text: str, found: list[str]) -> None:
    assert found_in(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "", "no address here", "a @ b.c", "@handle and user@host", "x@y", "logo@2x.png", "pkg@1.2.3.4", "@@@", "a@.com",
        "git@github.com:owner/repo.git", "someone@example.com", "x@sub.example.org", "me@host.test",
        "1.2.3", "256.1.1.1", "81.2.69.1429", "01.02.03.04", "1.2.3.4.5", "1.3.6.1.4.1.311", "2.5.4.42=John",
        "v81.2.69.142", "version 81.2.69.142", "Version: 81.2.69.142", "foo-81.2.69.142", "foo==81.2.69.142",
        "81.2.69.142-rc1", "Chrome/81.2.69.142", "section 5.1.1.2", "§ 5.1.1.2", "§5.1.5.1, 5.1.8.1, and 5.1.9.1",
        "### 5.1.1.2 Memorized Secrets", "\n5.1.1.2 Memorized Secrets", "see [5.1.1.2](#memorized)",
        "10.1.2.3", "127.0.0.1", "192.168.1.1", "172.20.0.1", "203.0.113.7", "0.0.0.0", "255.255.255.255",
        "12:34:56", "00:1A:2B:3C:4D:5E", "std::vector", "a::b", "dead::beef", "::", "::1", "fe80::1", "2001:db8::1",
        "3977:349::",
    ],
)  # fmt: skip
def test_what_only_looks_like_an_address_is_left_alone(text: str) -> None:
    assert found_in(text) == []


def test_reserved_addresses_are_found_when_asked_for() -> None:
    text = "a@example.com 10.1.2.3 127.0.0.1 fe80::1 2001:db8::1"
    assert found_in(text, reserved=True) == text.split()
    assert found_in(text, reserved=True, emails=False) == text.split()[1:]
    assert found_in(text, reserved=True, ip_addresses=False) == text.split()[:1]


def test_spans_carry_kind_and_replacement_and_are_sorted_without_overlap() -> None:
    text = "ü 81.2.69.142 é x@y.org 🎉 81.2.69.143@y.org"
    spans = spans_of(text)
    assert [(span["kind"], span["replacement"]) for span in spans] == [
        ("ip_address", "<IP_ADDRESS>"), ("email", "<EMAIL>"), ("email", "<EMAIL>"),
    ]  # fmt: skip
    bounds = [edge for span in spans for edge in (span["start"], span["end"])]
    assert bounds == sorted(bounds)
    data = text.encode()
    pieces = [data[a:b] for a, b in zip([0, *bounds[1::2]], [*bounds[::2], len(data)], strict=True)]
    assert b"".join(pieces).decode() == "ü  é  🎉 "


def test_rows_stay_aligned_in_chunks_slices_and_types() -> None:
    texts = ["x@y.org", "", "clean", "ü 81.2.69.142", "z@y.org"]
    whole = found_by(pii.Config(), pa.array(texts, pa.large_string()))
    assert [len(spans) for spans in whole["spans"].to_pylist()] == [1, 0, 0, 1, 1]
    chunked = pa.chunked_array([pa.array(texts[:2], pa.large_string()), pa.array(texts[2:], pa.large_string())])
    assert found_by(pii.Config(), chunked).equals(whole)
    sliced = pa.array(["q@y.org", *texts], pa.large_string()).slice(1)
    assert found_by(pii.Config(), sliced).equals(whole)
    assert found_by(pii.Config(), pa.array(texts, pa.string())).equals(whole)
    assert len(found_by(pii.Config(), pa.array([], pa.large_string()))) == 0


def test_the_drop_policy_names_a_reason_and_counts() -> None:
    texts = pa.array(["x@y.org and 81.2.69.142", "clean"], pa.large_string())
    for policy, reason in (("drop", "pii_found"), ("redact", None)):
        config = pii.Config(policy=policy)
        verdicts = pii.judge(config, features_of(texts.to_pylist()), found_by(config, texts))
        first = (reason, 2.0, 0.0, False) if reason else (None, None, None, False)
        assert rows(verdicts) == [first, (None, None, None, False)]


def test_rows_without_spans_pass_the_drop_policy() -> None:
    config = pii.Config(policy="drop")
    found = pa.table({"spans": pa.array([None, []], pa.list_(SPAN))})
    assert [row[0] for row in rows(pii.judge(config, features_of(["", ""]), found))] == [None, None]


@pytest.mark.parametrize(
    "unit",
    ["a", "a@", "a.", "a@b.", "1.", "1.1.1.1", "1.1.1.1 ", ":", "a:", "::a", "f:", "@", "é", "é@é.", "x@y.org ", "-@"],
)
def test_time_is_linear_in_hostile_text(unit: str) -> None:
    text = unit * (300_000 // len(unit.encode()))
    started = time.process_time()
    spans_of(text, reserved=True)
    assert time.process_time() - started < 5


def test_every_labelled_address_of_a_public_set_is_found_and_nothing_else() -> None:
    if not PRESIDIO.is_file():
        pytest.skip("the shared data set pii/presidio_synth.jsonl.gz is absent")
    kinds = {"EMAIL_ADDRESS": "email", "IP_ADDRESS": "ip_address"}
    with gzip.open(PRESIDIO, "rt") as lines:
        labelled = [json.loads(line) for line in lines]
    texts = pa.array([row["text"] for row in labelled], pa.large_string())
    found = found_by(pii.Config(reserved=True), texts)["spans"].to_pylist()
    expected_total = wrong = 0
    for row, spans in zip(labelled, found, strict=True):
        text = row["text"]
        expected = {
            (len(text[:start].encode()), len(text[:end].encode()), kinds[kind])
            for start, end, kind in row["spans"]
            if kind in kinds
        }
        expected_total += len(expected)
        wrong += len(expected ^ {(s["start"], s["end"], s["kind"]) for s in spans})
    assert expected_total == 48
    assert wrong == 0


def test_the_rule_declares_what_it_is() -> None:
    assert (pii.KIND, pii.VERSION) == ("span", "2")
    assert all(field.description for field in pii.Config.model_fields.values())
