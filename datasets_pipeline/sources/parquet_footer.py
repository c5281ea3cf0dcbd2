"""The footer of a Parquet file, as far as it says where row groups lie; read outside of the jail, so in Python.

Thrift's compact protocol (thrift-compact-protocol.md of Apache Thrift) carries a FileMetaData of parquet.thrift
(Apache Parquet format). Only Python objects are built of hostile bytes; a footer of 10 MB takes about ten seconds.
"""

from dataclasses import dataclass
from typing import Any

MAX_FOOTER_BYTES = 32 * 1024 * 1024
_MAX_DEPTH = 24

# Field numbers of parquet.thrift.
_FILE_ROW_GROUPS = 4
_GROUP_COLUMNS, _GROUP_NUM_ROWS = 1, 3
_CHUNK_METADATA = 3
_CHUNK_BYTES, _CHUNK_DATA_PAGE, _CHUNK_DICTIONARY_PAGE = 7, 9, 11


@dataclass(frozen=True)
class RowGroup:
    """Where a row group lies, in bytes of the file, and how many rows it has."""

    start: int
    end: int
    num_rows: int


def row_groups(footer: bytes) -> list[RowGroup]:
    """The row groups of a file, in order. Raises ValueError for bytes that are no such footer."""
    try:
        groups = _Reader(footer).struct(0).get(_FILE_ROW_GROUPS, [])
        return [_row_group(group) for group in groups]
    except (IndexError, KeyError, TypeError, AttributeError) as error:
        raise ValueError("not a footer of a Parquet file") from error


def _row_group(group: dict[int, Any]) -> RowGroup:
    starts, ends = [], []
    for chunk in group[_GROUP_COLUMNS]:
        metadata = chunk[_CHUNK_METADATA]
        start = metadata[_CHUNK_DATA_PAGE]
        dictionary = metadata.get(_CHUNK_DICTIONARY_PAGE)
        if dictionary:  # writers have been seen to put 0 for none
            start = min(start, dictionary)
        starts.append(start)
        ends.append(start + metadata[_CHUNK_BYTES])
    if not starts or min(starts) < 0 or max(ends) < min(starts) or group[_GROUP_NUM_ROWS] < 0:
        raise ValueError("a row group without a place")
    return RowGroup(min(starts), max(ends), group[_GROUP_NUM_ROWS])


class _Reader:
    """Thrift's compact protocol, without a schema: structs as {field number: value}."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def struct(self, depth: int) -> dict[int, Any]:
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deeply")
        fields: dict[int, Any] = {}
        number = 0
        while (head := self._byte()) != 0:
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            fields[number] = self._value(head & 15, depth + 1, in_list=False)
        return fields

    def _value(self, kind: int, depth: int, *, in_list: bool) -> Any:
        if kind in (1, 2):
            return self._byte() == 1 if in_list else kind == 1
        if kind == 3:
            return self._byte()
        if kind in (4, 5, 6):
            return self._zigzag()
        if kind == 7:
            return self._take(8)
        if kind == 8:
            return self._take(self._varint())
        if kind in (9, 10):
            return self._list(depth)
        if kind == 12:
            return self.struct(depth)
        raise ValueError(f"type {kind} of Thrift does not occur in a Parquet footer")

    def _list(self, depth: int) -> list[Any]:
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deeply")
        head = self._byte()
        length = head >> 4
        if length == 15:
            length = self._varint()
        if length > len(self._data) - self._at:  # every element takes a byte at the least
            raise ValueError("a list longer than the footer")
        return [self._value(head & 15, depth + 1, in_list=True) for _ in range(length)]

    def _byte(self) -> int:
        byte = self._data[self._at]
        self._at += 1
        return byte

    def _take(self, length: int) -> bytes:
        if length > len(self._data) - self._at:
            raise ValueError("a text longer than the footer")
        self._at += length
        return self._data[self._at - length : self._at]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number of more than 64 bits")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
