"""One value, one spelling, one digest: on every machine and for ever."""

import datetime
import math
from pathlib import Path
from typing import Any

import pytest

from ingot.digests import canonical_json, digest_of, fingerprint, sha256_file, sha256_hex, without_none


def test_canonical_json_is_these_bytes() -> None:
    value = {"z": [1, 1.5, True, None, -0.0], "a": {"ü": 'é\n"\\/\x7f\u2028', "": (1e21, 10**20)}}
    expected = '{"a":{"":[1e+21,100000000000000000000],"ü":"é\\n\\"\\\\/\x7f\u2028"},"z":[1,1.5,true,null,-0.0]}'
    assert canonical_json(value) == expected.encode()


def test_key_order_does_not_matter_and_list_order_does() -> None:
    assert canonical_json({"b": 1, "a": 2}) == canonical_json({"a": 2, "b": 1})
    assert canonical_json([1, 2]) != canonical_json([2, 1])


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_has_no_digest(number: float) -> None:
    with pytest.raises(ValueError, match=r"\$\.rate\[0\] is"):
        canonical_json({"rate": [number]})


@pytest.mark.parametrize(
    "value", [b"bytes", {1, 2}, object(), datetime.date(2026, 1, 1), 1j, range(3)], ids=lambda v: type(v).__name__
)
def test_an_unknown_type_raises_instead_of_becoming_text(value: object) -> None:
    with pytest.raises(TypeError, match=rf"\$\.here is a {type(value).__name__}"):
        canonical_json({"here": value})


def test_a_key_that_is_no_text_raises() -> None:
    with pytest.raises(TypeError, match="key 1 at"):
        canonical_json({1: "one"})


def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc" * 700_000)
    assert sha256_file(tmp_path / "file") == sha256_hex(b"abc" * 700_000)
    assert sha256_hex(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_an_unset_option_has_no_digest_of_its_own() -> None:
    assert without_none({"a": None, "b": [{"c": None}]}) == {"b": [{}]}
    common: dict[str, dict[str, str]] = {"inputs": {}, "versions": {}}
    assert fingerprint("s", "1", values={"a": None}, **common) == fingerprint("s", "1", values={}, **common)


def test_the_fingerprint_of_a_fixed_stage_never_changes() -> None:
    found = fingerprint(
        "decide", "3", values={"share": 0.02, "rules": [{"rule": "language", "keep": ["en"]}], "off": None},
        inputs={"snapshot": "a" * 64}, versions={"features": "7"},
    )  # fmt: skip
    spelled = (
        b'{"inputs":{"snapshot":"' + b"a" * 64 + b'"},"stage":"decide","values":{"rules":[{"keep":["en"],'
        b'"rule":"language"}],"share":0.02},"version":"3","versions":{"features":"7"}}'
    )
    assert found == sha256_hex(spelled) == "ac2c5bceaf9be1794d7248741a64334afd4afe17025c3874cceeceb283802f88"


@pytest.mark.parametrize("change", ["stage", "version", "values", "inputs", "versions"])
def test_every_part_of_a_fingerprint_matters(change: str) -> None:
    parts: dict[str, Any] = {
        "stage": "s",
        "version": "1",
        "values": {"a": 1},
        "inputs": {"a": "1"},
        "versions": {"a": "1"},
    }
    changed = {**parts, change: parts[change] + "x" if isinstance(parts[change], str) else {"a": "2"}}

    def of(p: dict[str, Any]) -> str:
        return fingerprint(p["stage"], p["version"], values=p["values"], inputs=p["inputs"], versions=p["versions"])

    assert of(parts) != of(changed)


def test_a_digest_is_the_sha256_of_the_canonical_json() -> None:
    assert digest_of({}) == sha256_hex(b"{}")
