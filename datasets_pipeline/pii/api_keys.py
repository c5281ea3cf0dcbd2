"""Keys and tokens of services: by the patterns their providers publish, and `secret = <high entropy>`.

A provider's prefix stands alone. Anything else needs a name before it that says secret, and a value that no person
would write: digits and letters mixed, not words, at least 3.5 bits a character. Documentation's own keys
(`AKIAIOSFODNN7EXAMPLE`, `xxxx`, Stripe's test keys, jwt.io's token) are left alone unless reserved ones are wanted.
"""

import base64
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from datasets_pipeline.pii.found import Found

KIND = "api_key"

MIN_BITS_PER_CHARACTER = 3.5
MAX_WORD_SHARE = 0.4
"""Of a value's characters in words of four letters or more: `my-very-secret-token-2024` is a placeholder."""

_PROVIDERS = re.compile(
    rb"(?<![A-Za-z0-9])(?:"
    + rb"|".join(
        (
            rb"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}",  # AWS
            rb"gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}",
            rb"gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|soat|ffct)-[A-Za-z0-9_-]{20,300}",  # GitLab
            rb"xox[abeoprs]-[0-9A-Za-z-]{16,300}|xapp-[0-9]-[A-Z0-9]+-[0-9]+-[a-f0-9]{32,80}",  # Slack
            rb"AIza[A-Za-z0-9_-]{35}|GOCSPX-[A-Za-z0-9_-]{28}|ya29\.[A-Za-z0-9_-]{30,500}",  # Google
            rb"[rs]k_(?:live|test)_[A-Za-z0-9]{16,250}|whsec_[A-Za-z0-9+/]{32,64}",  # Stripe
            rb"sk-(?:proj|svcacct|admin|ant-api[0-9]{2}|ant-admin[0-9]{2}|or-v1)-[A-Za-z0-9_-]{32,300}",
            rb"sk-[A-Za-z0-9]{32,64}",  # OpenAI and those that copied it
            rb"npm_[A-Za-z0-9]{36}|pypi-AgE[A-Za-z0-9_-]{50,1000}|hf_[A-Za-z]{34}|dckr_pat_[A-Za-z0-9_-]{27}",
            rb"do[opr]_v1_[a-f0-9]{64}|SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}|hvs\.[A-Za-z0-9_-]{24,300}",
            rb"shp(?:at|ca|pa|ss)_[a-f0-9]{32}|dapi[a-f0-9]{32}|glsa_[A-Za-z0-9]{32}_[a-f0-9]{8}",
            rb"eyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{20,1000}",  # JWT, RFC 7519
        )
    )
    + rb")(?![A-Za-z0-9])"
)
# Quick: every provider's pattern starts with one of these.
_PREFIX = re.compile(
    rb"AKIA|ASIA|ABIA|ACCA|gh[pousr]_|github_pat_|gl[a-z]{2,5}-|xox[a-z]-|xapp-|AIza|GOCSPX-|[rs]k_|whsec_|sk-|npm_|"
    rb"pypi-|hf_|dckr_|do[opr]_|shp[a-z]{2}_|dapi|glsa_|eyJ"
)
_DOTTED_PREFIX = re.compile(rb"(?:SG|hvs|ya29)\.\Z")
_NAME = re.compile(
    rb"(?:(?:api|app|access|auth|secret|private|client|consumer|account|encryption|signing|shared|master|service)"
    rb"[ _-]?key|secret(?:[ _-]?(?:access)?[ _-]?key)?|token|passw(?:or)?d|passphrase|pwd|api[ _-]?secret)"
    rb"[A-Za-z_]{0,8}[\"'`\]]{0,2}\s{0,3}(?:=>|:=|[=:])\s{0,3}(?:[\"'`]|[bru][\"'])?\Z|"
    rb"(?:bearer|authorization: ?basic|authorization: ?token)[ \t]{1,3}\Z",
    re.IGNORECASE,
)
_NAME_WORDS = (b"key", b"secret", b"token", b"pass", b"pwd", b"bearer", b"basic")
_MAX_NAME_BYTES = 48
_VALUE = re.compile(rb"[A-Za-z0-9+/_-]{20,512}={0,2}")
_BEFORE_VALUE = frozenset(b" \t\r\n\"'`=:>")
_VALUE_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_-")
_WORD_IN_VALUE = re.compile(rb"[A-Z]?[a-z]{4,}|[A-Z]{4,}")
_HEX = re.compile(rb"[0-9a-fA-F-]+")
_EXAMPLE = re.compile(
    rb"example|xxx|\*\*\*|your|redacted|placeholder|dummy|sample|fake|changeme|12345678|abcdefgh|ABCDEF123|000000|"
    rb"deadbeef|(.)\1{5}",
    re.IGNORECASE,
)
_KNOWN_EXAMPLES = (
    b"sk_test_", b"rk_test_",
    b"eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9l",  # the payload of jwt.io's token
)  # fmt: skip


def find(data: bytes, places: Sequence[tuple[int, int]], reserved: bool) -> Iterator[Found]:
    """The keys in and around some runs of letters and digits."""
    floor = 0
    for start, _ in places:
        if start < floor:
            continue  # in what was found before: the other parts of a JWT
        match = _of_provider(data, start) or _named(data, start)
        if match is None or (not reserved and _is_example(match.group())):
            continue
        yield Found(match.start(), match.end(), KIND, match.group())
        floor = match.end()


def _of_provider(data: bytes, start: int) -> re.Match[bytes] | None:
    """A key with a known prefix that begins where the run does, or one prefix with a dot before it."""
    match = _PROVIDERS.match(data, start) if _PREFIX.match(data, start) else None
    if match is None and start and data[start - 1] == 46:
        prefix = _DOTTED_PREFIX.search(data, max(0, start - 6), start)
        match = _PROVIDERS.match(data, prefix.start()) if prefix else None
    return match


def _named(data: bytes, place: int) -> re.Match[bytes] | None:
    """A value that a name before it calls secret."""
    start = place
    while start > 0 and place - start < 64 and data[start - 1] in _VALUE_BYTES:
        start -= 1
    if start == 0 or data[start - 1] not in _BEFORE_VALUE:
        return None
    before = data[max(0, start - _MAX_NAME_BYTES) : start]
    lower = before.lower()
    if not any(word in lower for word in _NAME_WORDS) or _NAME.search(before) is None:
        return None
    match = _VALUE.match(data, start)
    if match is None or not _is_random(match.group()):
        return None
    written = _behind_base64(match.group())
    return match if written is None or (_is_random(written) and not _is_example(written)) else None


def _is_random(value: bytes) -> bool:
    core = value.rstrip(b"=")
    if not core or not (any(48 <= byte <= 57 for byte in core) and any(byte >= 65 for byte in core)):
        return False
    if _HEX.fullmatch(core):
        return len(core) >= 32
    words = sum(len(word) for word in _WORD_IN_VALUE.findall(core))
    return words <= MAX_WORD_SHARE * len(core) and bits_per_character(core) >= MIN_BITS_PER_CHARACTER


def _behind_base64(value: bytes) -> bytes | None:
    """The ASCII text that a value spells in base64, as a Kubernetes Secret does; None where it spells none."""
    try:
        text = base64.b64decode(value, validate=True).rstrip()
    except ValueError:
        return None
    return text if text and all(32 <= byte < 127 for byte in text) else None


def bits_per_character(value: bytes) -> float:
    """Shannon entropy of a value's own characters."""
    counts = Counter(value).values()
    return -sum(count / len(value) * math.log2(count / len(value)) for count in counts)


def _is_example(key: bytes) -> bool:
    return _EXAMPLE.search(key) is not None or any(known in key for known in _KNOWN_EXAMPLES)
