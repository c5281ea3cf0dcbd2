# mypy: allow-untyped-defs
"""numba kernels over numbers of documents: components of pairs, and what numbers.py fills.

Imported on first use only, because numba costs a second to import.
"""

import numba

_jit = numba.njit(nogil=True, cache=True)


@_jit
def join_roots(parent, left, right):
    """Union by smallest index, with path halving; afterwards parent[i] is the smallest member's index."""
    for e in range(len(left)):
        a, b = left[e], right[e]
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        while parent[b] != b:
            parent[b] = parent[parent[b]]
            b = parent[b]
        if a < b:
            parent[b] = a
        else:
            parent[a] = b
    for i in range(len(parent)):
        # The root of i is never larger than i, and all smaller ones are flat already.
        parent[i] = parent[parent[i]]


@_jit
def fill_where(mask, found):
    """Where a mask is True, ascending."""
    size = 0
    for i in range(len(mask)):
        if mask[i]:
            found[size] = i
            size += 1


@_jit
def fill_order(group, order, starts):
    """The stable order of groups, and where each begins; `starts` comes as zeros."""
    for i in range(len(group)):
        starts[group[i] + 1] += 1
    for k in range(len(starts) - 1):
        starts[k + 1] += starts[k]
    place = starts.copy()
    for i in range(len(group)):
        order[place[group[i]]] = i
        place[group[i]] += 1
