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
    """Yield the values. From the third on, a thread gets up to `most` ahead of the one in use.

    The first two are got by the caller's thread, because there may be no others. `values` can't use
    a session() of the caller's. Close this generator before `values`, and before anything that
    `values` uses, because until then the thread may still be in it. `values` itself is left open.
    Raises what `values` raises.
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
