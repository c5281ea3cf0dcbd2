"""A short way to what one kind finds in a text."""

import pyarrow as pa

from datasets_pipeline.pii.find import find_in_batch

COUNTRIES = ("US", "GB", "DE", "FR", "ES", "IT", "PT", "NL", "PL")


def found_in(kind: str, text: str, *, reserved: bool = False, countries: tuple[str, ...] = COUNTRIES) -> list[str]:
    """What stands at the places of a kind, in order."""
    batch = pa.array([text], pa.large_string())
    data = text.encode()
    places = [f for _, row in find_in_batch(batch, [kind], reserved=reserved, countries=countries) for f in row]
    return [data[place.start : place.end].decode() for place in sorted(set(places))]


def values_in(kind: str, text: str) -> list[bytes]:
    """The normalized values of a kind, in order."""
    batch = pa.array([text], pa.large_string())
    places = [f for _, row in find_in_batch(batch, [kind], reserved=False, countries=COUNTRIES) for f in row]
    return [place.value for place in sorted(set(places))]
