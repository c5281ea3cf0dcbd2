"""Members of a zip that somebody else packed: every size is believed only after reading."""

import io
import zipfile

from datasets_pipeline.sources.base import ExtractionError
from datasets_pipeline.sources.packed import MAX_RATIO, RATIO_FREE_BYTES

_MAX_MEMBERS = 200_000


class ZipMembers:
    """A zip in memory. Raises ExtractionError parser_error, too_large, encrypted or unsafe_member, and nothing else."""

    def __init__(self, data: bytes, uri: str, max_bytes: int) -> None:
        self._uri, self._max_bytes, self._num_packed = uri, max_bytes, len(data)
        self.num_bytes = 0
        failure = ""
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(data))
            members = self._archive.infolist()
        except Exception as error:  # zipfile raises what it pleases on damaged archives
            failure = type(error).__name__
        if failure:
            raise ExtractionError("parser_error", f"{uri}: reading it as a zip raised {failure}; fetch it again")
        if len(members) > _MAX_MEMBERS:
            raise ExtractionError("too_large", f"{uri}: {len(members):,} members; unpack it and name the folder")
        self._by_name = {member.filename: member for member in members if not member.is_dir()}
        self.names = sorted(self._by_name)

    def read(self, name: str) -> bytes:
        """The bytes of one member."""
        member = self._by_name[name]
        if member.flag_bits & 1:
            raise ExtractionError("encrypted", f"{self._uri}: its members are encrypted; unpack it with the password")
        failure = ""
        data = b""
        try:
            with self._archive.open(member) as file:
                data = file.read(self._max_bytes - self.num_bytes + 1)
        except Exception as error:
            failure = type(error).__name__
        if failure:
            raise ExtractionError("parser_error", f"{self._uri}!/{name}: unpacking it raised {failure}; fetch it again")
        self.num_bytes += len(data)
        too_dense = self.num_bytes > RATIO_FREE_BYTES and self.num_bytes > MAX_RATIO * self._num_packed
        if self.num_bytes > self._max_bytes or too_dense:
            raise ExtractionError(
                "too_large",
                f"{self._uri}: more than {self.num_bytes:,} bytes after decompression; raise max_decompressed_bytes",
            )
        return data
