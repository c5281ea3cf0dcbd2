"""What a mail repeats of others, and its signature: found by the marks mail programs set, never by guessing at words.

    > quoted lines                     and the line before them that says who wrote them
    On 12 May 2024 at 10:00, A wrote:  in seven languages; without `>` below it the rest is the quotation
    -----Original Message-----         or a block of From, Sent, To, Subject: so is what stands below it
    `-- `                              the signature, to the end (RFC 3676, 4.3)

A forwarded mail is left whole, because there what is quoted is what is said.
"""

import re

VERSION = "1"

_QUOTED = re.compile(r" ?>")
_PROMPT = re.compile(r">>> |>>>$|\.\.\. ")
_FROM_LINE = re.compile(r">From ")  # what mailboxes make of a line that begins with From
_OPENER = re.compile(r"[ \t]*(?:On|Am|Le|El|Il|Op|Em|Den)\b")
_VERB = re.compile(
    r"\b(?:wrote|writes|schrieb|schreibt|(?:a|à) écrit|écrivait|escribió|ha scritto|schreef|escreveu|skrev)\b",
    re.IGNORECASE,
)
_DATED = re.compile(r"\b\d{4}\b|\b\d{1,2}[:.]\d{2}\b|@")
_ORIGINAL = re.compile(
    r"\s*-{2,}\s*(?:Original[ -](?:Message|Nachricht|Appointment)|Urspr(?:ü|ue)ngliche (?:Nachricht|Mail)"
    r"|Message (?:d['’]origine|original|initial)|Mensaje original|Messaggio originale|Oorspronkelijk bericht"
    r"|Mensagem original)\s*-{2,}\s*\Z",
    re.IGNORECASE,
)
_FORWARDED = re.compile(
    r"[ \t>]*(?:-{2,}\s*(?:Forwarded (?:message|by)\b|Weitergeleitete Nachricht|Message transféré|Mensaje reenviado"
    r"|Messaggio inoltrato)|Begin forwarded message:|Anfang der weitergeleiteten)",
    re.IGNORECASE,
)
_FORWARD_SUBJECT = re.compile(r"\s*(?:\[[^\]]{0,40}\]\s*)?(?:fwd?|wg|tr|rv|enc|i|vs)\s*:", re.IGNORECASE)
_FROM_LABEL = re.compile(r"[ \t*]*(?:From|Von|De|Da|Van)[ \t*]*:", re.IGNORECASE)
_OTHER_LABEL = re.compile(
    r"[ \t*]*(?:Sent|Date|To|Cc|Subject|Gesendet|Datum|An|Betreff|Envoyé|À|Objet|Enviado(?: el)?|Fecha|Para|Asunto"
    r"|Inviato|Data|A|Oggetto|Verzonden|Aan|Onderwerp)[ \t*]*:",
    re.IGNORECASE,
)
_RULE = re.compile(r"\s*_{10,}\s*\Z")
_MAX_ATTRIBUTION_LINES = 4
_MAX_SIGNATURE_LINES = 30
_MAX_BARE_SIGNATURE_LINES = 10
"""Behind `--` without its blank, which may as well be a rule in the text."""


def is_forward(subject: str) -> bool:
    """Whether a subject says that the mail hands on another (Fwd, WG, TR, RV)."""
    return _FORWARD_SUBJECT.match(subject) is not None


def without_quotes(text: str) -> tuple[str, int, int]:
    """(the text of the sender alone, quoted lines removed, signature lines removed); blank lines are not counted.

    A forward, and a text of nothing but quotations, is returned as it is.
    """
    lines = text.split("\n")
    if any(_FORWARDED.match(line) for line in lines):
        return text, 0, 0
    quoted = _quoted_lines(lines)
    end = next((at for at in range(len(lines)) if not quoted[at] and _quotation_begins(lines, at)), len(lines))
    quoted[end:] = [True] * (len(lines) - end)
    kept = [line for line, is_quoted in zip(lines, quoted, strict=True) if not is_quoted]
    signature = _signature_start(kept)
    own = kept[:signature]
    if not any(line.strip() for line in own):
        return text, 0, 0
    num_quoted = sum(bool(line.strip()) for line, is_quoted in zip(lines, quoted, strict=True) if is_quoted)
    return "\n".join(own).rstrip("\n"), num_quoted, sum(bool(line.strip()) for line in kept[signature:])


def _quoted_lines(lines: list[str]) -> list[bool]:
    """Which lines begin with `>`, or say who wrote those below them; prompts of Python and lone `>From` do not."""
    quoted = [False] * len(lines)
    start = 0
    while start < len(lines):
        if not _QUOTED.match(lines[start]):
            start += 1
            continue
        end = start
        while end < len(lines) and _QUOTED.match(lines[end]):
            end += 1
        block = lines[start:end]
        if not (all(_PROMPT.match(line) for line in block) or (len(block) == 1 and _FROM_LINE.match(block[0]))):
            quoted[start:end] = [True] * (end - start)
            first = _attribution_before(lines, start)
            quoted[first:start] = [True] * (start - first)
        start = end
    return quoted


def _attribution_before(lines: list[str], start: int) -> int:
    """Where the line begins that introduces the quotation at start; start when there is none."""
    last = start - 1
    while last >= 0 and start - last <= 2 and not lines[last].strip():
        last -= 1
    if last < 0 or not lines[last].rstrip().endswith(":") or not lines[last].strip():
        return start
    first = last
    for at in range(last, max(last - _MAX_ATTRIBUTION_LINES, -1), -1):
        if not lines[at].strip():
            break
        if _OPENER.match(lines[at]) or (at == last and _VERB.search(lines[at])):
            first = at
    return first if _VERB.search(" ".join(lines[first : last + 1])) else start


def _quotation_begins(lines: list[str], at: int) -> bool:
    """Whether everything from this line on is an older mail."""
    line = lines[at]
    if _ORIGINAL.match(line):
        return True
    if _RULE.match(line):
        below = next((n for n in range(at + 1, min(at + 3, len(lines))) if lines[n].strip()), None)
        return below is not None and _is_header_block(lines, below)
    return _is_header_block(lines, at) or _is_dated_attribution(lines, at)


def _is_header_block(lines: list[str], at: int) -> bool:
    if not _FROM_LABEL.match(lines[at]):
        return False
    below = [line for line in lines[at + 1 : at + 10] if line.strip()][:5]
    return sum(_OTHER_LABEL.match(line) is not None for line in below) >= 2


def _is_dated_attribution(lines: list[str], at: int) -> bool:
    if not _OPENER.match(lines[at]):
        return False
    for last in range(at, min(at + _MAX_ATTRIBUTION_LINES, len(lines))):
        if not lines[last].strip():
            return False
        if lines[last].rstrip().endswith(":"):
            whole = " ".join(lines[at : last + 1])[:1000]
            return bool(_VERB.search(whole) and _DATED.search(whole))
    return False


def _signature_start(lines: list[str]) -> int:
    end = len(lines)
    while end and not lines[end - 1].strip():
        end -= 1
    for at in range(max(end - _MAX_SIGNATURE_LINES - 1, 0), end):
        if lines[at] == "-- " or (lines[at].rstrip() == "--" and end - at <= _MAX_BARE_SIGNATURE_LINES):
            return at
    return len(lines)
