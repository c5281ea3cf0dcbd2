"""Where a source's place lies on this machine, whatever kind of source it is: for INGOT_SOURCE_ROOTS."""

from pathlib import Path
from urllib.parse import urlsplit

from datasets_pipeline.sources import databases, files


def local_place(uri: str) -> Path | None:
    """The local path behind a source's uri; None for one elsewhere. Raises RecipeError for a kind no source reads."""
    if "://" in uri and urlsplit(uri).scheme in databases.SCHEMES:
        return databases.local_path(uri)
    if uri.startswith(("http://", "https://")):
        return None
    return files.local_root(uri)
