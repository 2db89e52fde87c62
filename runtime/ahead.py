"""Get the values of an iterator ahead of time."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Value = TypeVar("Value")


class _End:
    """What comes behind the last value."""


_END = _End()


def ahead(values: Iterator[Value], most: int) -> Generator[Value, None, None]:
    """Yield the values. While one is used, a thread gets up to `most` of those that follow.

    The first two are got without a thread, because there may be no others. As the others are got in
    a thread, `values` can't use a session() of the caller's. Nothing more is got once this is
    closed, which `values` and what it uses must wait for; it isn't closed by this. Raises what
    `values` raises.
    """
    for _ in range(2):
        if isinstance(value := next(values, _END), _End):
            return
        yield value
    executor = ThreadPoolExecutor(1)
    try:
        coming = deque(executor.submit(next, values, _END) for _ in range(most))
        while not isinstance(value := coming.popleft().result(), _End):
            coming.append(executor.submit(next, values, _END))
            yield value
    finally:
        executor.shutdown(cancel_futures=True)
