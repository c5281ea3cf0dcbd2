"""A bounded, order-independent sample of the training text, for baselines to be fitted on."""

from bisect import insort

LARGEST_DOCUMENT_BYTES = 1 << 20  # of one document at most this much, so that one dump cannot fill the sample


class TrainingSample:
    """The documents with the smallest doc_ids whose bytes fit `max_bytes` together.

    A doc_id is a hash of the text, so this is a uniform sample of documents, and it is the same in
    whatever order they come. Only the first MiB of a document counts. Memory: `max_bytes`.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._ids: list[str] = []
        self._texts: dict[str, bytes] = {}
        self._border: str | None = None  # smallest doc_id that did not fit; from here on nothing does
        self.num_bytes = 0
        self.num_documents_seen = 0
        self.num_bytes_seen = 0

    def add(self, doc_id: str, text: bytes) -> None:
        """Offer one document; the same doc_id twice counts once in the sample."""
        self.num_documents_seen += 1
        self.num_bytes_seen += len(text)
        if doc_id in self._texts or (self._border is not None and doc_id >= self._border):
            return
        text = text[: min(LARGEST_DOCUMENT_BYTES, self._max_bytes)]
        insort(self._ids, doc_id)
        self._texts[doc_id] = text
        self.num_bytes += len(text)
        while self.num_bytes > self._max_bytes:
            self._border = self._ids.pop()
            self.num_bytes -= len(self._texts.pop(self._border))

    def texts(self) -> list[bytes]:
        """The sampled documents in the order of their doc_ids."""
        return [self._texts[doc_id] for doc_id in self._ids]

    def describe(self) -> dict[str, int | str]:
        """What the baselines were fitted on, for the result."""
        return {
            "num_documents": len(self._ids),
            "num_bytes": self.num_bytes,
            "max_bytes": self._max_bytes,
            "num_documents_seen": self.num_documents_seen,
            "num_bytes_seen": self.num_bytes_seen,
            "selection": "documents with the smallest doc_ids that fit, of each at most its first MiB",
        }
