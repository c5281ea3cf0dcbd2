"""Small mails for tests."""

import base64


def mail(body: str, *fields: str, subject: str = "Roof") -> bytes:
    """A plain mail; fields are whole header lines."""
    head = [
        f"Subject: {subject}", "From: Ada Muster <ada@example.org>", "To: b@example.org",
        "Date: Tue, 5 Mar 2024 23:30:00 +0100", "Message-ID: <1@example.org>", *fields,
    ]  # fmt: skip
    return ("\r\n".join(head) + "\r\n\r\n" + body.replace("\n", "\r\n")).encode()


def multipart(kind: str, *parts: bytes | str, parameters: str = "", fields: tuple[str, ...] = ()) -> bytes:
    """A mail of MIME parts; each part has its own header lines, a blank line and its body."""
    boundary = f"=={kind}"
    type_field = f'Content-Type: multipart/{kind}; boundary="{boundary}"{parameters}'
    raw = [part if isinstance(part, bytes) else part.replace("\n", "\r\n").encode() for part in parts]
    body = b"".join(b"--" + boundary.encode() + b"\r\n" + part + b"\r\n" for part in raw)
    return mail("", type_field, *fields) + body + f"--{boundary}--\r\n".encode()


def inside(whole: bytes) -> bytes:
    """A multipart mail as a part of another: its Content-Type and what follows."""
    return whole[whole.index(b"Content-Type:") :]


def plain(text: str, more: str = "") -> str:
    return f"Content-Type: text/plain; charset=utf-8{more}\n\n{text}"


def page(body: str) -> str:
    return f"Content-Type: text/html; charset=utf-8\n\n<html><body>{body}</body></html>"


def attached(name: str, content: bytes, kind: str = "application/octet-stream") -> str:
    return (
        f'Content-Type: {kind}\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename="{name}"'
        f"\n\n{base64.encodebytes(content).decode()}"
    )
