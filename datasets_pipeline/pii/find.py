"""All kinds over a batch of texts: which of them look at which places."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial

import pyarrow as pa

from datasets_pipeline.pii import (
    api_keys,
    bank_accounts,
    emails,
    ip_addresses,
    national_ids,
    payment_cards,
    phones,
    private_keys,
    scan,
    url_passwords,
)
from datasets_pipeline.pii.found import Found
from datasets_pipeline.pii.shapes import MAX_BYTES, shape_of

Finder = Callable[[bytes, Sequence[tuple[int, int]]], Iterable[Found]]

_MAX_SHAPES = 65_536


def find_in_batch(
    text: pa.LargeStringArray, kinds: Iterable[str], *, reserved: bool, countries: Sequence[str]
) -> Iterator[tuple[int, list[Found]]]:
    """(row, what stands there, by kind) of every row in which something was found; kinds may overlap."""
    chosen = frozenset(kinds)
    finders = [(what, find) for kind, what, find in _finders(reserved) if kind in chosen]
    numbers = [(whats, may_be, find) for kind, whats, may_be, find in _numbers(reserved, countries) if kind in chosen]
    wanted = {what for what, _ in finders}.union(*(whats for whats, _, _ in numbers))
    shapes = _Shapes([(whats, may_be) for whats, may_be, _ in numbers])
    for row, places in scan.scan(text, wanted):
        data = text[row].as_buffer().to_pybytes()
        found = [place for what, find in finders if what in places for place in find(data, places[what])]
        for index, members in shapes.by_kind(data, places).items():
            found += numbers[index][2](data, members)
        if found:
            yield row, found


class _Shapes:
    """Which kinds a number could be of, remembered by its shape."""

    def __init__(self, tests: Sequence[tuple[Collection[int], Callable[[bytes], bool]]]) -> None:
        """tests: of each kind, the places it looks at, and whether a shape could be one."""
        self._tests = tests
        self._known: dict[int, dict[bytes, tuple[int, ...]]] = {what: {} for whats, _ in tests for what in whats}

    def by_kind(self, data: bytes, places: scan.Places) -> dict[int, list[tuple[int, int]]]:
        """The places that could be of a kind, by its index in tests."""
        members: dict[int, list[tuple[int, int]]] = {}
        for what, known in self._known.items():
            if len(known) > _MAX_SHAPES:
                known.clear()
            for start, end in places.get(what, ()):
                shape = shape_of(data, start, end) if end - start <= MAX_BYTES else None
                possible = known.get(shape) if shape is not None else self._possible(what, None)
                if possible is None and shape is not None:
                    possible = known[shape] = self._possible(what, shape)
                for index in possible or ():
                    members.setdefault(index, []).append((start, end))
        return members

    def _possible(self, what: int, shape: bytes | None) -> tuple[int, ...]:
        """Of a place without a shape, all kinds that look at it."""
        return tuple(
            index
            for index, (whats, may_be) in enumerate(self._tests)
            if what in whats and (shape is None or may_be(shape))
        )


def _finders(reserved: bool) -> tuple[tuple[str, int, Finder], ...]:
    """(kind, the places it looks at, its function)."""
    return (
        (emails.KIND, scan.AT, partial(emails.find, reserved=reserved)),
        (ip_addresses.KIND, scan.DOTTED, partial(ip_addresses.find_ipv4, reserved=reserved)),
        (ip_addresses.KIND, scan.COLONS, partial(ip_addresses.find_ipv6, reserved=reserved)),
        (bank_accounts.KIND, scan.ACCOUNT, partial(bank_accounts.find, reserved=reserved)),
        (api_keys.KIND, scan.SECRET, partial(api_keys.find, reserved=reserved)),
        (private_keys.KIND, scan.PEM, partial(private_keys.find, reserved=reserved)),
        (url_passwords.KIND, scan.AT, partial(url_passwords.find, reserved=reserved)),
    )


def _numbers(
    reserved: bool, countries: Sequence[str]
) -> tuple[tuple[str, tuple[int, ...], Callable[[bytes], bool], Finder], ...]:
    """(kind, the places it looks at, whether a shape could be one, its function) of the kinds that are numbers."""
    return (
        (phones.KIND, (scan.NUMBER,), phones.has_shape, partial(phones.find, reserved=reserved, countries=countries)),
        (payment_cards.KIND, (scan.NUMBER,), payment_cards.has_shape, partial(payment_cards.find, reserved=reserved)),
        (
            national_ids.KIND,
            (scan.NUMBER, scan.SHORT_NUMBER, scan.CODE),
            partial(national_ids.has_shape, countries=countries),
            partial(national_ids.find, reserved=reserved, countries=countries),
        ),
    )
