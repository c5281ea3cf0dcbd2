"""The child process of the `xz_trained` baseline; standard library only, run as a file, never imported.

It compresses the training text once, then forks once per document: each fork owns a copy of the encoder's
state, so every document is compressed directly after the training text and after nothing else.

stdin:  u64 window, u64 training bytes, u64 documents; the training text; per document u64 length, bytes.
stdout: per document the u64 number of bytes it adds to the stream.
"""

import lzma
import os
import struct
import sys

PIECE_BYTES = 16 << 10


def main() -> None:
    """Read the request, write one size a document."""
    read = sys.stdin.buffer.read
    window, training_bytes, num_documents = struct.unpack("<QQQ", read(24))
    encoder = lzma.LZMACompressor(
        lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": window}]
    )
    # In small pieces: handed everything at once, the encoder only buffers it, and each fork would have to
    # compress the whole training text (34 s instead of 0.5 s for 1 MB and 67 documents).
    # What comes out here is the same for every document, so it does not count.
    for begin in range(0, training_bytes, PIECE_BYTES):
        encoder.compress(read(min(PIECE_BYTES, training_bytes - begin)))
    empty = size_after(encoder, b"")
    for _ in range(num_documents):
        (length,) = struct.unpack("<Q", read(8))
        size = size_after(encoder, read(length)) - empty
        sys.stdout.buffer.write(struct.pack("<Q", max(0, size)))
    sys.stdout.buffer.flush()


def size_after(encoder: lzma.LZMACompressor, document: bytes) -> int:
    """Bytes that come out when the document is added and the stream ended, in a copy of this process."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        size = len(encoder.compress(document)) + len(encoder.flush())
        os.write(writer, struct.pack("<Q", size))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        data = answer.read()
    _, status = os.waitpid(child, 0)
    if status != 0 or len(data) != 8:
        sys.exit(2)
    return int(struct.unpack("<Q", data)[0])


if __name__ == "__main__":
    main()
