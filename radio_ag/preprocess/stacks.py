"""Stacks of images of any real type and byte order: what each step of the preprocessing takes and goes through.

Functions of this room take a stack of shape (n, ny, nx) and never change it. Those that measure or prepare go through
it a block of fields at a time on all processors, so it may be a memory map larger than memory: beyond the result they
need a few MB a processor.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import ArrayLike, NDArray

from radio_ag.errors import ImageError, InputError

_BLOCK = 128  # fields a task at most: they share the cost of the fit, and of passing on Python's lock


def as_stack(array: ArrayLike, name: str) -> NDArray:
    """Return a stack (n, ny, nx) of any real type and byte order, masked pixels as NaN.

    Parameters
    ----------
    array : array_like, shape (n, ny, nx)
        Of real numbers, masked or not.
    name : str
        What messages call it.

    Returns
    -------
    ndarray, shape (n, ny, nx)
        The same memory where nothing is masked.
    """
    array = np.asanyarray(array)
    if array.ndim != 3:
        hint = ": give a single image as image[None]" if array.ndim == 2 else ""
        raise ImageError(f"{name} must be a stack of shape (n, ny, nx), not {array.shape}{hint}")
    if 0 in array.shape[1:]:
        raise ImageError(f"{name} must have pixels, but is of shape {array.shape}")
    if array.dtype.kind not in "fiu":
        raise ImageError(f"{name} must hold real numbers, not {array.dtype}")
    return np.ma.filled(array.astype(np.float32), np.nan) if isinstance(array, np.ma.MaskedArray) else array


def to_native(array: NDArray) -> NDArray[np.float32]:
    """Return contiguous float32 of the machine's byte order; no copy where it is that already.

    Parameters
    ----------
    array : ndarray
        Of any shape and real type.

    Returns
    -------
    ndarray of float32
        Of the same shape.
    """
    return np.ascontiguousarray(array, np.float32)


def per_image(values: ArrayLike, n: int, name: str) -> NDArray[np.float32]:
    """Return one number for each of n images, shape (n,), from one for all or one each.

    Parameters
    ----------
    values : array_like, shape () or (n,)
        Real numbers.
    n : int
        Number of images.
    name : str
        What messages call them.

    Returns
    -------
    ndarray, shape (n,), float32
        Finite or not, as they came.
    """
    values = np.asarray(values, np.float32)
    if values.shape not in ((), (n,)):
        raise InputError(f"{name} must be one number or one for each of the {n} images, not of shape {values.shape}")
    return np.broadcast_to(values, (n,))


def run_blocks(work: Callable[[slice], None], n: int) -> None:
    """Run `work` for slices that cover n fields, on all processors: NumPy's loops run side by side.

    Parameters
    ----------
    work : callable
        Takes a slice.
    n : int
        Number of fields.
    """
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    size = min(_BLOCK, max(-(-n // processors), 1))
    blocks = [slice(start, start + size) for start in range(0, n, size)]
    if len(blocks) <= 1 or processors == 1:
        for block in blocks:
            work(block)
        return
    with ThreadPoolExecutor(processors) as pool:
        list(pool.map(work, blocks))  # taking the results raises what a task raised
