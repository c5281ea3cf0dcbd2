"""Plain addresses for compiled helpers.

numba counts references to every array a function touches, by atomic operations that it cannot always
remove around branches; helpers called once a word spent five times longer on that than on their work.
A pointer is one register and has no owner.
"""

from typing import Any

from numba.core import types
from numba.extending import intrinsic


@intrinsic
def _pointer_to(_typing_context: Any, array: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, arguments[0]).data

    return types.CPointer(array.dtype)(array), generate


pointer_to: Any = _pointer_to
"""Address of the first element of a C-contiguous array.

The array must outlive the pointer: take it of a function's arguments only. Indexing a pointer is unchecked
and does not wrap at negative numbers.
"""
