"""A rate: the most emails a minute."""

from __future__ import annotations

import re
from typing import NamedTuple

# The most emails a minute that a rate may allow.
MAX_PER_MINUTE = 1_000_000


class Rate(NamedTuple):
    """The most emails a minute that a processor gets, of all batches and from all workers.

    processor: the section of config.ini that has the rate.
    """

    processor: str
    per_minute: int


def per_minute(text: str) -> int | None:
    """Return the emails a minute that a person has written, None for no rate. Raises ValueError."""
    if not text:
        return None
    if re.fullmatch("[1-9][0-9]{0,6}", text) and int(text) <= MAX_PER_MINUTE:
        return int(text)
    raise ValueError(f"must be a whole number of emails from 1 to {MAX_PER_MINUTE:,}, or empty")
