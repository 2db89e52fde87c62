"""The catalogue of reasons: for each code, a verdict and a sentence for people.

An email is stored with its status and its reason only. Its verdict and explanation follow from
these two by pure functions, for which a process needs no processor.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from runtime import characters

STATUSES = ("pending", "processed", "failed")
VERDICTS = ("ok", "risky", "unknown", "invalid")
# The key for the sum of a batch's rarer reasons if there are too many; no processor may yield it.
OTHER_REASONS = "other_reasons"
# The most reasons that a batch counts separately, besides the built-in ones, of which the verdicts
# are known by that. The counts are part of every message, and a team's own processor may invent any
# number of reasons.
MAX_REASONS = 100

# A regular expression for a reason's code, and the same for people.
CODE = "[a-z0-9_]{1,40}"
RULE = "a reason has 1 to 40 characters, each of them a-z, 0-9 or _, as in not_staff"


class Reason(NamedTuple):
    """A built-in reason. Emails with the verdict `invalid` are failed, all others processed."""

    code: str
    verdict: str
    explanation: str


CATALOGUE = {
    code: Reason(code, verdict, explanation)
    for verdict, explanations in {
        "invalid": {
            # The syntax.
            "no_at_sign": "There is no @-sign.",
            "no_local_part": "There is nothing before the @-sign.",
            "no_domain": "There is nothing after the @-sign.",
            "bad_local_part": "The part before the @-sign is malformed.",
            "bad_domain": "The part after the @-sign is malformed.",
            "bad_syntax": "The address is malformed.",
            "too_long": "The address, or a part of it, is too long.",
            "no_top_level_domain": "The domain lacks an ending such as .com.",
            "reserved_domain": "The domain is reserved for special use; no mail can be sent to it.",
            "quoted_local_part": "The part before the @-sign is in quotes,"
            " which hardly any mail system accepts.",
            "ip_address": "There is an IP address where the domain should be.",
            "invisible_characters": "There are invisible characters in the address.",
            "display_name": "There is a name or angle brackets around the address;"
            " only the address may be there.",
            # The domain's servers.
            "no_such_domain": "The domain does not exist.",
            "no_mail_server": "The domain has no server that takes mail.",
            "null_mx": "The domain says that it accepts no mail.",
            # Errors of the processing.
            "error": "Processing this address failed with an error; see the log.",
            "worker_crashed": "Processing this address made the worker crash.",
            "timed_out": "Processing this address took too long.",
        },
        "risky": {
            "likely_typo": "The domain is probably mistyped.",
            "disposable": "The domain is for throw-away addresses.",
            "role_account": "The address belongs to a role such as info or postmaster,"
            " not to a person.",
            "odd_characters": "There are signs in the part before the @-sign, such as quotation"
            " marks or bullets, which hardly any mailbox has.",
        },
        "unknown": {
            "dns_timeout": "It is not known whether the domain takes mail: the DNS"
            " gave no answer in time.",
            "dns_error": "It is not known whether the domain takes mail: the DNS"
            " answered with an error.",
            "dns_paused": "It is not known whether the domain takes mail: the DNS"
            " was out of order, so it was not asked.",
            "unknown": "It could not be found out whether the address takes mail.",
            "interrupted": "It may have been done; nobody can tell.",
        },
        # A sum of reasons of any verdict.
        "": {OTHER_REASONS: "Other reasons."},
    }.items()
    for code, explanation in explanations.items()
}
# The codes whose verdict is `unknown`.
UNKNOWN = tuple(reason.code for reason in CATALOGUE.values() if reason.verdict == "unknown")
# The reason of an email whose work may have been done, and must not be repeated unless a person
# asks for exactly that; and the unknown ones without it.
INTERRUPTED = "interrupted"
RETRIED = tuple(code for code in UNKNOWN if code != INTERRUPTED)


def named(which: str) -> tuple[str, ...]:
    """Return the codes that `which` stands for in a retry: RETRIED for unknown, or itself."""
    return RETRIED if which == "unknown" else (which,)


def is_code(text: str) -> bool:
    """Return whether the text has the form of a reason's code: see CODE."""
    return re.fullmatch(CODE, text) is not None


def allowed(status: str, reason: str) -> bool:
    """Return whether a processor may yield this reason with this status.

    A built-in reason goes with one status only, which makes the counts of verdicts() exact. Any
    other reason goes with both.
    """
    if reason in (OTHER_REASONS, INTERRUPTED):
        return False
    known = CATALOGUE.get(reason)
    return known is None or (known.verdict == "invalid") == (status == "failed")


def verdict(status: str, reason: str | None) -> str | None:
    """Return the verdict on an email with this status and reason; None while it is pending."""
    if status == "pending":
        return None
    if status == "failed":
        return "invalid"
    if reason is None:
        return "ok"
    return "unknown" if reason in UNKNOWN else "risky"


def explanation(reason: str | None, address: str = "") -> str:
    """Return the reason as a sentence, made of its words if it isn't built in; empty for None.

    With the address, the sentence names what can't be seen there.
    """
    if not reason:
        return ""
    if reason == "invisible_characters" and (found := characters.named(address)):
        return f"{CATALOGUE[reason].explanation.rstrip('.')}: {found}."
    if reason in CATALOGUE:
        return CATALOGUE[reason].explanation
    words = " ".join(reason.replace("_", " ").split())
    return f"{words[:1].upper()}{words[1:]}." if words else ""


def verdicts(processed: int, failed: int, reasons: Mapping[str, int]) -> dict[str, int]:
    """Return the number of emails with each verdict.

    `processed` counts all emails that have an outcome.
    `failed` counts the failed ones.
    `reasons` has the number of emails for each reason.
    """
    unknown = sum(reasons.get(code, 0) for code in UNKNOWN)
    ok = processed - sum(reasons.values())
    counts = (ok, processed - failed - unknown - ok, unknown, failed)
    return dict(zip(VERDICTS, counts, strict=True))


def bounded(counts: Counter[str]) -> dict[str, int]:
    """Return the counts of built-in reasons and of the MAX_REASONS most common other ones.

    The rest is counted as OTHER_REASONS.
    """
    own = Counter({code: number for code, number in counts.items() if code not in CATALOGUE})
    kept = {code: number for code, number in counts.items() if code in CATALOGUE}
    kept.update(own.most_common(MAX_REASONS))
    rest = counts.total() - sum(kept.values())
    if rest:
        kept[OTHER_REASONS] = kept.get(OTHER_REASONS, 0) + rest
    return kept
