"""Keys, tokens, private keys and passwords: what is one, and what a manual only shows."""

import pytest

from tests.pii.places import found_in

RANDOM = "q7Xv2LpT9sKd4RmZ8wBy1NcH6gFj3VtA5eQu"
KEYS = (
    "AKIAQYLPMN5HWXVT2SGZ", f"ghp_{RANDOM}", f"glpat-{RANDOM[:20]}", f"xoxb-271828182845-314159265358-{RANDOM[:24]}",
    f"AIza{RANDOM[:35]}", f"sk_live_{RANDOM[:24]}", f"sk-proj-{RANDOM}{RANDOM}", f"sk-{RANDOM}{RANDOM[:12]}",
    f"npm_{RANDOM}", f"hf_{'aQwErTzUiOpLkJhGfDsYxCvBnMqWeRtZuI'}", f"SG.{RANDOM[:22]}.{RANDOM}{RANDOM[:7]}",
    f"eyJhbGciOiJIUzI1NiJ9.eyJ{RANDOM}.{RANDOM}", f"github_pat_{RANDOM[:22]}_{RANDOM}{RANDOM[:23]}",
)  # fmt: skip
BODY = "\n".join(["MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"] * 3)


@pytest.mark.parametrize("key", KEYS)
def test_keys_of_providers_stand_alone(key: str) -> None:
    for text in (f"we leaked {key} last night", f'"{key}"', f"TOKEN={key}\n", key):
        assert found_in("api_key", text) == [key]
    assert found_in("api_key", f"x{key}") == [], "not inside a longer word"


@pytest.mark.parametrize(
    "text",
    [
        f'client_secret: "{RANDOM}"', f"API_KEY={RANDOM}", f"aws_secret_access_key = {RANDOM}/+{RANDOM[:4]}",
        f"Authorization: Bearer {RANDOM}", f"'password' => '{RANDOM}'", f"accessToken: {RANDOM}",
        "secret_key=9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    ],
)  # fmt: skip
def test_a_random_value_with_a_name_that_says_secret_is_found(text: str) -> None:
    (found,) = found_in("api_key", text)
    assert text.rstrip("'\"").endswith(found) and len(found) >= len(RANDOM)


@pytest.mark.parametrize(
    "text",
    [
        "AKIAIOSFODNN7EXAMPLE", "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        f"sk_test_{RANDOM[:24]}", "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "token: my-very-secret-token-for-2024-only",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ"
        ".SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
        f"image: {RANDOM}", f"commit {RANDOM}",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "api_key=00000000-0000-0000-0000-000000000000", "password: correct-horse-battery-staple-99",
        "token=getUserAccessTokenFromRequest1", "apiKey: TlJBSy0xMjM0NTY3ODkwMTIzNDU2Nwo=",
        "clientSecret: U0VSVklDRV9QUklOQ0lQQUxfUEFTU1dPUkQ=", "secretName: cert-manager-webhook-2024-tls",
    ],
)  # fmt: skip
def test_examples_and_plain_names_are_no_keys(text: str) -> None:
    assert found_in("api_key", text) == []


def test_example_keys_are_found_when_asked_for() -> None:
    assert found_in("api_key", "AKIAIOSFODNN7EXAMPLE", reserved=True) == ["AKIAIOSFODNN7EXAMPLE"]


@pytest.mark.parametrize("name", ["PRIVATE KEY", "RSA PRIVATE KEY", "OPENSSH PRIVATE KEY", "PGP PRIVATE KEY BLOCK"])
def test_private_keys_are_found_from_begin_to_end(name: str) -> None:
    block = f"-----BEGIN {name}-----\n{BODY}\n-----END {name}-----"
    assert found_in("private_key", f"key:\n{block}\nend") == [block]
    indented = block.replace("\n", "\n    ")
    assert found_in("private_key", f"key: |\n    {indented}\n") == [indented]
    escaped = block.replace("\n", "\\n")
    assert found_in("private_key", f'{{"key": "\\n{escaped}"}}') == [escaped]


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
        f"-----BEGIN PUBLIC KEY-----\n{BODY}\n-----END PUBLIC KEY-----",
        f"-----BEGIN CERTIFICATE-----\n{BODY}\n-----END CERTIFICATE-----",
        f"-----BEGIN PRIVATE KEY-----\n{BODY}",
        "grep -q -e '-----BEGIN PRIVATE KEY-----' && echo '-----END PRIVATE KEY-----'",
    ],
)
def test_a_block_without_a_key_is_left_alone(text: str) -> None:
    assert found_in("private_key", text) == []


def test_a_cut_block_does_not_hide_the_next_one() -> None:
    block = f"-----BEGIN PRIVATE KEY-----\n{BODY}\n-----END PRIVATE KEY-----"
    assert found_in("private_key", f"-----BEGIN PRIVATE KEY-----\nMIIE\n{block}") == [block]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("postgres://app:s8Fj2kq!x@db.salt-quay.org/main", ["s8Fj2kq!x"]),
        ("git clone https://deploy:9aZk_2-x@git.salt-quay.org/x.git", ["9aZk_2-x"]),
        ("redis://:p4Zz91xk@10.0.0.5:6379/0", ["p4Zz91xk"]),
        ("https://user:password@salt-quay.org", []),
        ("https://user:${DB_PASSWORD}@salt-quay.org", []),
        ("https://user:<password>@salt-quay.org", []),
        ("https://postgres:postgres@db/main", []),
        ("https://user:s8Fj2kq@example.com", []),
        ("amqp://app:s8Fj2kq@localhost:5672", []),
        ("https://salt-quay.org:8080/@user", []),
        ("https://salt-quay.org/a:b@c", []),
        ("mailto:anna@salt-quay.org", []),
    ],
)
def test_passwords_of_urls_are_found_alone(text: str, found: list[str]) -> None:
    assert found_in("password", text) == found
    assert found_in("email", text) == (["anna@salt-quay.org"] if "anna" in text else [])


def test_placeholder_passwords_are_found_when_asked_for() -> None:
    assert found_in("password", "https://user:password@example.com", reserved=True) == ["password"]
