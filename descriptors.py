"""File descriptors: raising this process's limit to what its settings need, before they run out."""

from __future__ import annotations

import errno
import os
import resource
import sys

from settings import SettingsError

# Open in any process of ours beside what is counted: libraries, logs, locks, Redis.
OWN = 100
# Files of one request: its form, what its rows are kept in, the pipes of a child process.
REQUEST = 16
# Files of one worker thread, likewise; sockets of one lookup, the second if an answer is long.
THREAD = 8
LOOKUP = 2
# What a session has: its connection, and a second descriptor by which it is cut.
SESSION = 2


def allow(wanted: int) -> int:
    """Raise the limit to `wanted`, or as far as it may be raised; what it is then."""
    soft, hard = (
        sys.maxsize if limit == resource.RLIM_INFINITY else limit
        for limit in resource.getrlimit(resource.RLIMIT_NOFILE)
    )
    if soft < min(wanted, hard):
        _, kept = resource.getrlimit(resource.RLIMIT_NOFILE)
        soft = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, kept))
    return soft


def too_few(what: str, needed: int, limit: int) -> SettingsError:
    """The error that says that these settings can't be met."""
    return SettingsError(
        f"{what} need {needed:,} file descriptors, and this process may have {limit:,}. Raise that"
        " limit (ulimit -Hn in a shell, LimitNOFILE in a systemd unit), or lower these settings."
    )


def ran_out(error: BaseException) -> bool:
    """Whether an error says that no descriptor is left, here or in the whole system."""
    if isinstance(error, OSError):
        return error.errno in (errno.EMFILE, errno.ENFILE)
    # The driver of PostgreSQL has only the words.
    return any(os.strerror(number) in str(error) for number in (errno.EMFILE, errno.ENFILE))
