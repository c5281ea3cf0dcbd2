"""Words of a file by tools that share no code with ours: poppler, LibreOffice, reformime, and a tag stripper.

Used to say beforehand which of the shared raw documents give no text, and to weigh what ours give.
"""

import hashlib
import html.parser
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

OFFICE = (".doc", ".docx", ".ppt", ".pptx", ".xls", ".xlsx", ".odt", ".ods", ".odp", ".rtf")
_SECONDS = 120
_FRONT_MATTER = re.compile(r"\A(?:---|\+\+\+)[ \t]*\n.*?\n(?:---|\+\+\+)[ \t]*(?:\n|\Z)", re.DOTALL)
_TEMPLATE = re.compile(r"<script\b[^<>]*text/x-handlebars[^<>]*>(.*?)</script>", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class Reference:
    """What another tool found: the text, or the reason why there is none, with its own words as evidence."""

    text: str = ""
    reason: str = ""
    evidence: str = ""


def reference(path: Path, cache: Path) -> Reference:
    """The text of one file by another tool; conversions of LibreOffice are kept in `cache`."""
    ending = path.suffix.lower()
    if ending == ".pdf":
        return _pdf(path)
    if ending in OFFICE:
        return _office(path, cache)
    if ending == ".eml":
        return _mail(path)
    if ending == ".msg":
        return Reference(reason="unsupported_media_type", evidence="Outlook's own format, which no extractor reads")
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "cp1252", "replace")
    text = text.replace("\r\n", "\n")
    if ending in (".html", ".htm"):
        text = visible_text(text)
    elif ending in (".md", ".mdx"):
        text = _FRONT_MATTER.sub("", text)
    return Reference(text) if text.split() else Reference(reason="empty", evidence="no word outside of markup")


def visible_text(page: str) -> str:
    """The text between the tags, without scripts and styles; templates in scripts are pages."""
    page = _TEMPLATE.sub(lambda found: f"<div>{found.group(1)}</div>", page)
    stripper = _Stripper()
    stripper.feed(page)
    stripper.close()
    return " ".join(stripper.parts)


class _Stripper(html.parser.HTMLParser):
    _UNSEEN = frozenset({"script", "style", "head", "title", "svg", "noscript"})

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._unseen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self._UNSEEN:
            self._unseen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._unseen:
            self._unseen.remove(tag)

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.parts.append(data)


def _pdf(path: Path) -> Reference:
    done = _run("pdftotext", "-enc", "UTF-8", str(path), "-")
    told = done.stderr.decode("utf-8", "replace").strip().splitlines()
    evidence = f"pdftotext status {done.returncode}: {told[-1] if told else 'no message'}"
    if done.returncode and any("ncorrect password" in line for line in told):
        return Reference(reason="encrypted", evidence=evidence)
    if done.returncode:
        return Reference(reason="parser_error", evidence=evidence)
    text = done.stdout.decode("utf-8", "replace")
    if text.split():
        return Reference(text)
    pictures = len(_run("pdfimages", "-list", str(path)).stdout.splitlines()) - 2
    if pictures > 0:
        return Reference(
            reason="no_text_layer", evidence=f"pdftotext gives no word, pdfimages lists {pictures} pictures"
        )
    return Reference(reason="empty|parser_error", evidence="pdftotext gives no word, pdfimages no picture")


def _office(path: Path, cache: Path) -> Reference:
    folder = cache / hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    if not folder.is_dir():
        folder.mkdir(parents=True)
        profile = f"-env:UserInstallation=file://{cache}/profile"
        _run("soffice", "--headless", profile, "--convert-to", "pdf", "--outdir", str(folder), str(path))
    made = list(folder.glob("*.pdf"))
    if not made:
        return Reference(reason="parser_error|encrypted", evidence="LibreOffice makes no PDF of it")
    found = _pdf(made[0])
    return found if found.text else Reference(reason="empty", evidence="LibreOffice's PDF of it has no word")


def _mail(path: Path) -> Reference:
    """The bodies: text parts that are no attachment, without quoted lines and signature, as ours leave them out."""
    data = path.read_bytes()
    texts, kinds = [], []
    for part in _run("reformime", "-i", stdin=data).stdout.decode("utf-8", "replace").split("\n\n"):
        field = dict(line.split(": ", 1) for line in part.splitlines() if ": " in line)
        kind, is_body = field.get("content-type", ""), field.get("content-disposition") != "attachment"
        kinds.append(kind)
        if is_body and kind in ("text/plain", "text/html"):
            body = _run("reformime", "-e", "-s", field["section"], stdin=data).stdout
            texts.append((kind, _decoded(body, field.get("charset", "utf-8"))))
    if "multipart/encrypted" in kinds or "application/pkcs7-mime" in kinds:
        return Reference(reason="encrypted", evidence="reformime: an encrypted part")
    plain = [text for kind, text in texts if kind == "text/plain" and text.split()]
    text = "\n".join(plain or [visible_text(text) for _, text in texts])
    text = "\n".join(line for line in text.splitlines() if not line.startswith(">"))
    text = re.split(r"(?m)^-- ?$", text)[0]
    if not text.split():
        # A subject or an attachment is something too; how many words that is, this tool does not say.
        subject = _run("reformail", "-x", "Subject:", stdin=data).stdout.split()
        if not subject and all(kind.startswith(("text/", "multipart/")) or not kind for kind in kinds):
            return Reference(reason="empty", evidence="reformime: no body with a word, no subject, no attachment")
    return Reference(text)


def _decoded(data: bytes, charset: str) -> str:
    try:
        return data.decode(charset, "replace")
    except LookupError:
        return data.decode("cp1252", "replace")


def _run(*command: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    try:
        return subprocess.run(command, input=stdin, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, b"", b"no end within the time limit")
