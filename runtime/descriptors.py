"""File descriptors: raise this process's limit to the number that its settings need."""

from __future__ import annotations

import errno
import os
import resource
import sys

from runtime.settings import SettingsError

# Open in each of our processes, apart from those counted below: libraries, logs, locks, Redis.
OWN = 100
# Of one request: its form, the temporary files for its rows, those of a child process.
REQUEST = 16
# Of one worker thread; of one DNS lookup: a socket, and a second one if the answer is long.
THREAD = 8
LOOKUP = 2
# Of one database session: its connection, and a duplicate through which the watchdog cuts it.
SESSION = 2


def allow(wanted: int) -> int:
    """Raise the limit to `wanted`, or as far as the hard limit allows; return what it is then."""
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
    """The error for settings that need more descriptors than this process may have."""
    return SettingsError(
        f"{what} need {needed:,} file descriptors, and this process may have {limit:,}. Raise that"
        " limit (ulimit -Hn in a shell, LimitNOFILE in a systemd unit), or lower these settings."
    )


def ran_out(error: BaseException) -> bool:
    """Whether an error says that no descriptor is left, here or in the whole system."""
    if isinstance(error, OSError):
        return error.errno in (errno.EMFILE, errno.ENFILE)
    # PostgreSQL's driver passes on only the message, not the number.
    return any(os.strerror(number) in str(error) for number in (errno.EMFILE, errno.ENFILE))
