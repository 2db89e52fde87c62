"""File descriptors: raise this process's limit to the number that its settings need."""

from __future__ import annotations

import errno
import os
import resource
import sys

from runtime.settings import SettingsError

# Descriptors of any process, apart from those below: libraries, logs, locks, Redis.
OWN = 100
# Descriptors of one request: its form, temporary files for its rows, those of a child process.
REQUEST = 16
# Descriptors of one worker thread.
THREAD = 8
# Descriptors of all DNS lookups: eight sockets for each of a few nameservers, and some for TCP.
LOOKUPS = 50
# Descriptors of one connection to PostgreSQL: the driver's, and our own, by which it is cut.
CONNECTION = 2


def allow(wanted: int) -> int:
    """Raise the limit to `wanted`, or as far as the hard limit allows; return the limit."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = (sys.maxsize if each == resource.RLIM_INFINITY else each for each in limits)
    if soft < min(wanted, hard):
        soft = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, limits[1]))
    return soft


def too_few(what: str, needed: int, limit: int) -> SettingsError:
    """Return the error for settings that need more descriptors than this process may have."""
    return SettingsError(
        f"{what} need {needed:,} file descriptors, and this process may have {limit:,}. Raise that"
        " limit (ulimit -Hn in a shell, LimitNOFILE in a systemd unit), or lower these settings."
    )


def ran_out(error: BaseException) -> bool:
    """Return whether an error says that no descriptor is left, here or in the whole system."""
    if isinstance(error, OSError):
        return error.errno in (errno.EMFILE, errno.ENFILE)
    # PostgreSQL's driver passes on the message without the number.
    return any(os.strerror(number) in str(error) for number in (errno.EMFILE, errno.ENFILE))
