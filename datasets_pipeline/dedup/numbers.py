"""Numbers of documents in four bytes each, where numpy's own functions hold eight and more for each document."""

import numpy as np


def numbers_where(mask: np.ndarray) -> np.ndarray:
    """int32: where a mask (bool [n]) is True, ascending."""
    from datasets_pipeline.dedup import number_kernels

    found = np.empty(np.count_nonzero(mask), np.int32)
    number_kernels.fill_where(mask, found)
    return found


def order_by_group(group: np.ndarray, num_groups: int) -> tuple[np.ndarray, np.ndarray]:
    """(int32 [n]: the order that brings equal groups together, stable; int64 [num_groups + 1]: where each begins).

    group int [n]: from 0 to num_groups - 1.
    """
    from datasets_pipeline.dedup import number_kernels

    order, starts = np.empty(len(group), np.int32), np.zeros(num_groups + 1, np.int64)
    number_kernels.fill_order(group, order, starts)
    return order, starts
