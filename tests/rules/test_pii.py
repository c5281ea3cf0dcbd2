"""E-mail and IP redaction: what is found, where exactly, and what is left alone."""

import gzip
import json
import re
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from datasets_pipeline.pii.found import Found, without_overlaps
from datasets_pipeline.rules import pii
from ingot.errors import RecipeError
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
        '<a href="#x">5.3.1.1 Control batch</a>', "Paragraph 1.2.3.1", "\n            - 2.3.8.1 Resources",
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
    found = found_by(config, pa.array(["", "x@y.org"], pa.large_string())).slice(0, 1)
    outside = found.set_column(0, "spans", pa.array([None], pa.list_(SPAN)))
    found = pa.concat_tables([outside, found])
    assert [row[0] for row in rows(pii.judge(config, features_of(["", ""]), found))] == [None, None]


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "a@",
        "a.",
        "a@b.",
        "1.",
        "1.1.1.1",
        "1.1.1.1 ",
        ":",
        "a:",
        "::a",
        "f:",
        "@",
        "é",
        "é@é.",
        "x@y.org ",
        "-@",
        "1",
        "1 ",
        "12 34 ",
        "0",
        "00 ",
        "+",
        "+1 ",
        "+49 ",
        "(0",
        "4111 ",
        "4111-1111-1111-1111-",
        "DE89",
        "DE89 3704 ",
        "A1",
        "aA1",
        "A1-",
        "tel 0301234",
        "ssn 123-45-",
        "ghp_",
        "eyJ",
        "eyJa1.",
        "key=a1B2",
        "secret=",
        "://a:",
        "://a:b@",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----",
        "\u00a0",
        "1\u00a0",
        "RSSMRA85T10A562S",
        "AB 12 34 56 C ",
        "12345678-",
        "tel. +49 30 90182",
        "call 2125552368 or ",
    ],
)
def test_time_is_linear_in_hostile_text(unit: str) -> None:
    text = unit * (300_000 // len(unit.encode()))
    started = time.process_time()
    spans_of(text, reserved=True)
    assert time.process_time() - started < 5


def test_every_labelled_number_of_a_public_set_is_found_and_nothing_else() -> None:
    if not PRESIDIO.is_file():
        pytest.skip("the shared data set pii/presidio_synth.jsonl.gz is absent")
    kinds = {
        "EMAIL_ADDRESS": "email", "IP_ADDRESS": "ip_address", "IBAN_CODE": "bank_account",
        "CREDIT_CARD": "payment_card",
        "US_SSN": "national_id", "PHONE_NUMBER": "phone",
    }  # fmt: skip
    with gzip.open(PRESIDIO, "rt") as lines:
        labelled = [json.loads(line) for line in lines]
    texts = pa.array([row["text"] for row in labelled], pa.large_string())
    found = found_by(pii.Config(reserved=True), texts)["spans"].to_pylist()
    expected_total: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    for row, spans in zip(labelled, found, strict=True):
        text = row["text"]
        expected = {
            (len(text[:start].encode()), len(text[:end].encode()), kinds[kind])
            for start, end, kind in row["spans"]
            if kind in kinds
        }
        mine = {(s["start"], s["end"], s["kind"]) for s in spans}
        assert mine <= expected, "nothing else is found"
        expected_total += Counter(kind for _, _, kind in expected)
        missed += Counter(kind for _, _, kind in expected - mine)
    assert expected_total == {
        "email": 43, "ip_address": 5, "bank_account": 21, "payment_card": 92, "national_id": 16, "phone": 76,
    }  # fmt: skip
    # Made-up numbers that no numbering plan has, without a word beside them that says telephone.
    assert missed == {"phone": 10}


def test_the_rule_declares_what_it_is() -> None:
    assert (pii.KIND, pii.VERSION, pii.HASHES_VALUES) == ("span", "4", True)
    assert all(field.description for field in pii.Config.model_fields.values())


KEY = "k" * 32


def test_every_kind_has_its_span_its_count_and_its_switch() -> None:
    text = (
        "x@y.org 81.2.69.142 +49 30 901820 DE02120300000000202051 4539148803436467 078-05-1121 "
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a postgres://app:s8Fj2kq!x@db.salt-quay.org/main\n"
        "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n" * 2
        + "-----END PRIVATE KEY-----"
    )  # fmt: skip
    found = found_by(pii.Config(), pa.array([text, "clean"], pa.large_string()))
    kinds = [kind for kind in pii.KINDS if kind != "person"]
    assert sorted(span["kind"] for span in found["spans"].to_pylist()[0]) == sorted(kinds)
    for kind in pii.KINDS:
        assert found[f"num_{kind}"].to_pylist() == [int(kind != "person"), 0]
    switches = {kind: f"{kind}s" for kind in kinds} | {"ip_address": "ip_addresses"}
    for kind, switch in switches.items():
        left = {span["kind"] for span in spans_of(text, **{switch: False})}
        assert kind not in left and left >= set(kinds) - {kind, "email" if kind == "password" else kind}


def test_the_same_value_has_the_same_hash_and_another_kind_or_store_another() -> None:
    texts = pa.array(["Anna@Salt-Quay.org", "to anna@salt-quay.org!", "anna@salt-key.org"], pa.large_string())
    hashes = [row[0]["keyed_hash"] for row in found_by(pii.Config(), texts)["spans"].to_pylist()]
    assert hashes[0] == hashes[1] != hashes[2]
    assert all(len(value) == 32 and int(value, 16) >= 0 for value in hashes)
    elsewhere = pii.find_spans(pii.Config(), pa.table({"text": texts}), b"1" * 32)["spans"].to_pylist()
    assert elsewhere[0][0]["keyed_hash"] != hashes[0]


def test_a_pseudonym_is_the_same_for_every_spelling_of_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGOT_SECRET_PSEUDONYMS", KEY)
    options = {"policies": {"phone": "pseudonymise", "bank_account": "pseudonymise"}, "credentials": "pseudonyms"}
    text = "+49 30 901820, Tel. (030) 901820; DE02 1203 0000 0000 2020 51 = DE02120300000000202051; x@y.org"
    replaced = [span["replacement"] for span in spans_of(text, **options)]
    assert replaced[0] == replaced[1] and re.fullmatch(r"<PHONE_[0-9a-f]{12}>", replaced[0])
    assert replaced[2] == replaced[3] and re.fullmatch(r"<BANK_ACCOUNT_[0-9a-f]{12}>", replaced[2])
    assert replaced[4] == "<EMAIL>"
    monkeypatch.setenv("INGOT_SECRET_PSEUDONYMS", "j" * 32)
    assert [span["replacement"] for span in spans_of(text, **options)][0] != replaced[0]


def test_only_the_id_of_the_key_is_part_of_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    config = pii.Config(policy="pseudonymise", credentials="pseudonyms")
    monkeypatch.setenv("INGOT_SECRET_PSEUDONYMS", KEY)
    first = pii.inputs(config)
    assert set(first) == {"pseudonym_key", "phonenumbers"} and KEY not in str(first)
    monkeypatch.setenv("INGOT_SECRET_PSEUDONYMS", "j" * 32)
    assert pii.inputs(config)["pseudonym_key"] != first["pseudonym_key"]
    assert pii.inputs(pii.Config(phones=False)) == {}


def test_a_missing_or_short_key_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    config = pii.Config(policy="pseudonymise", credentials="pseudonyms")
    with pytest.raises(RecipeError, match="INGOT_SECRET_PSEUDONYMS"):
        pii.inputs(config)
    monkeypatch.setenv("INGOT_SECRET_PSEUDONYMS", "hunter2")
    with pytest.raises(RecipeError, match="openssl rand") as refused:
        pii.inputs(config)
    assert "hunter2" not in str(refused.value)
    with pytest.raises(ValueError, match="needs a key"):
        pii.Config(policies={"email": "pseudonymise"})
    with pytest.raises(ValueError, match="take them out"):
        pii.Config(credentials="pseudonyms")


def test_a_policy_of_one_kind_drops_for_that_kind_only() -> None:
    texts = pa.array(["x@y.org", "81.2.69.142 and 81.2.69.143"], pa.large_string())
    config = pii.Config(policies={"ip_address": "drop"})
    verdicts = pii.judge(config, features_of(texts.to_pylist()), found_by(config, texts))
    assert rows(verdicts) == [(None, None, None, False), ("pii_found", 2.0, 0.0, False)]


def test_what_lies_in_another_is_part_of_it_and_what_crosses_becomes_one() -> None:
    inside = [Found(0, 9, "email", b"a"), Found(2, 5, "phone", b"b")]
    assert without_overlaps(inside) == inside[:1]
    crossing = [Found(0, 6, "phone", b"a"), Found(4, 9, "bank_account", b"b"), Found(9, 12, "email", b"c")]
    assert without_overlaps(crossing) == [Found(0, 9, "bank_account", b"b"), crossing[2]]
    same = [Found(0, 4, "phone", b"a"), Found(0, 4, "payment_card", b"b")]
    assert without_overlaps(same) == same[1:]
