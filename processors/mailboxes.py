"""Names of mailboxes that belong to a role, such as info, and not to a person."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby

# The names in RFC 2142, and other common ones.
_ROLES = """
    abuse accounting accounts admin administrator billing bounce bounces careers contact
    customerservice do-not-reply donotreply enquiries feedback finance ftp hello help helpdesk
    hostmaster hr info information inquiries jobs kontakt legal mailer-daemon marketing media
    news newsletter no-reply noc noreply office orders post postmaster press privacy root
    sales security service spam staff subscribe support sysadmin team unsubscribe usenet uucp
    webmaster www
"""
ROLES = frozenset(_ROLES.split())
_LONGEST = max(map(len, ROLES))


def is_role(local: str) -> bool:
    """Return whether a local part is the name of a role."""
    return len(local) <= _LONGEST and local.lower() in ROLES


def pattern_of(names: Iterable[str]) -> str:
    """Return a regular expression for these lower-case names that matches them in any case.

    Names share their common beginnings, so most other words fail at the first letter. Both cases of
    a letter are written out, which is faster than re.IGNORECASE.
    """
    branches = []
    for first, group in groupby(sorted(names), key=lambda name: name[:1]):
        either = f"[{first}{first.upper()}]" if first.isalpha() else re.escape(first)
        branches.append(either + pattern_of(name[1:] for name in group) if first else "")
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"
