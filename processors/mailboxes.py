"""Names of mailboxes that are a role's, such as info, and not a person's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby

# RFC 2142, and what is usual besides.
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
    """Whether what is before an @-sign is a role, such as info, and not a person."""
    return len(local) <= _LONGEST and local.lower() in ROLES


def pattern_of(names: Iterable[str]) -> str:
    """A regular expression for these names, which are in lower case, in either case.

    They share their beginnings, so that most other words fail at the first letter; to ignore the
    case of all would be slower than to say both.
    """
    branches = []
    for first, group in groupby(sorted(names), key=lambda name: name[:1]):
        either = f"[{first}{first.upper()}]" if first.isalpha() else re.escape(first)
        branches.append(either + pattern_of(name[1:] for name in group) if first else "")
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"
