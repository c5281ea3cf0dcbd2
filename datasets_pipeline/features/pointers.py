"""Plain addresses and machine words for compiled helpers.

numba counts references to every array a function touches, by atomic operations that it cannot always
remove around branches; helpers called once a word spent five times longer on that than on their work.
A pointer is one register and has no owner. Text is read eight bytes at a time where that is allowed.
"""

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic


@intrinsic
def _pointer_to(_typing_context: Any, array: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, arguments[0]).data

    return types.CPointer(array.dtype)(array), generate


@intrinsic
def _load_8_bytes(_typing_context: Any, pointer: Any, at: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        address = builder.gep(arguments[0], [arguments[1]])
        word = builder.load(builder.bitcast(address, ir.IntType(64).as_pointer()))
        word.align = 1
        return word

    return types.uint64(pointer, types.int64), generate


@intrinsic
def _trailing_zeros(_typing_context: Any, value: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@intrinsic
def _count_ones(_typing_context: Any, value: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


pointer_to: Any = _pointer_to
"""Address of the first element of a C-contiguous array.

The array must outlive the pointer: take it of a function's arguments only. Indexing a pointer is unchecked
and does not wrap at negative numbers.
"""
load_8_bytes: Any = _load_8_bytes
"""The 8 bytes from pointer[at] on as a uint64, the first in the lowest byte (little-endian machines)."""
trailing_zeros: Any = _trailing_zeros
"""Number of zero bits below the lowest one of a uint64; 64 for 0."""
count_ones: Any = _count_ones
"""Number of one bits of a uint64."""
