"""What the reason codes mean: a sentence for people, and the verdict that each stands for.

An email is stored with its status and its reason alone. All else that is said of it follows from
these two, by pure functions that also processes without any processor may call.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

STATUSES = ("pending", "processed", "failed")
VERDICTS = ("ok", "risky", "unknown", "invalid")
# Where a batch has very many different reasons, the rarer ones are summed under this; no processor
# may give it.
OTHER_REASONS = "other_reasons"
# The most reasons that a batch counts by themselves. They are part of every message, and a
# processor of a team's own may invent any number.
MAX_REASONS = 100

CODE = "[a-z0-9_]{1,40}"  # a regular expression


class Reason(NamedTuple):
    """A code of the product's own. Emails with verdict `invalid` failed, all others did not."""

    code: str
    verdict: str
    explanation: str


CATALOGUE = {
    reason.code: reason
    for reason in (
        # Of the syntax; malformed, whoever looks at it.
        Reason("no_at_sign", "invalid", "There is no @-sign."),
        Reason("no_local_part", "invalid", "There is nothing before the @-sign."),
        Reason("no_domain", "invalid", "There is nothing after the @-sign."),
        Reason("bad_local_part", "invalid", "What is before the @-sign is malformed."),
        Reason("bad_domain", "invalid", "What is after the @-sign is malformed."),
        Reason("bad_syntax", "invalid", "The address is malformed."),
        Reason("too_long", "invalid", "The address, or a part of it, is too long."),
        Reason(
            "no_top_level_domain",
            "invalid",
            "The domain lacks an ending such as .com.",
        ),
        Reason(
            "reserved_domain",
            "invalid",
            "The domain is reserved for special use; no mail can be sent to it.",
        ),
        Reason(
            "quoted_local_part",
            "invalid",
            "What is before the @-sign is in quotes, which hardly any mail system accepts.",
        ),
        Reason("ip_address", "invalid", "There is an IP address where the domain should be."),
        Reason(
            "display_name",
            "invalid",
            "There is a name or angle brackets around the address; only the address may be there.",
        ),
        # Of the domain's servers.
        Reason("no_such_domain", "invalid", "The domain does not exist."),
        Reason("no_mail_server", "invalid", "The domain has no server that takes mail."),
        Reason("null_mx", "invalid", "The domain says that it accepts no mail."),
        # Nobody's fault but the processing's.
        Reason("error", "invalid", "The check of this address failed with an error; see the log."),
        Reason("worker_crashed", "invalid", "The check of this address made the worker crash."),
        Reason("timed_out", "invalid", "The check of this address took too long."),
        # Processed all the same.
        Reason("likely_typo", "risky", "The domain is probably mistyped."),
        Reason("disposable", "risky", "The domain is one of throw-away addresses."),
        Reason(
            "role_account",
            "risky",
            "The address belongs to a role such as info or postmaster, not to a person.",
        ),
        Reason(
            "dns_timeout",
            "unknown",
            "Whether the domain takes mail is not known: the DNS gave no answer in time.",
        ),
        Reason(
            "dns_error",
            "unknown",
            "Whether the domain takes mail is not known: the DNS answered with an error.",
        ),
        Reason(
            "dns_paused",
            "unknown",
            "Whether the domain takes mail is not known: the DNS was out of order, so it was not"
            " asked.",
        ),
        Reason("unknown", "unknown", "Whether the address takes mail could not be found out."),
        # Of any verdict.
        Reason(OTHER_REASONS, "", "Other reasons."),
    )
}
# The codes whose verdict is `unknown`.
UNKNOWN = tuple(reason.code for reason in CATALOGUE.values() if reason.verdict == "unknown")


def named(which: str) -> tuple[str, ...]:
    """The codes that a retry of `which` is about: all that are unknown, or one."""
    return UNKNOWN if which == "unknown" else (which,)


def is_code(text: str) -> bool:
    """Whether this may be a reason's code: lower-case letters, digits, underscores, at most 40."""
    return re.fullmatch(CODE, text) is not None


def allowed(status: str, reason: str) -> bool:
    """Whether a processor may give this reason with this status; any may be with a code of its own.

    It is what makes the sums of verdicts() exact.
    """
    known = CATALOGUE.get(reason)
    return known is None or (
        known.verdict != "" and (known.verdict == "invalid") == (status == "failed")
    )


def verdict(status: str, reason: str | None) -> str | None:
    """The verdict on an email with this status and reason; None as long as it is pending."""
    if status == "pending":
        return None
    if status == "failed":
        return "invalid"
    if reason is None:
        return "ok"
    return "unknown" if reason in UNKNOWN else "risky"


def explanation(reason: str | None) -> str:
    """The reason as a sentence; a code of a team's own is its words. Empty for none."""
    if not reason:
        return ""
    if reason in CATALOGUE:
        return CATALOGUE[reason].explanation
    words = " ".join(reason.replace("_", " ").split())
    return f"{words[:1].upper()}{words[1:]}." if words else ""


def verdicts(processed: int, failed: int, reasons: Mapping[str, int]) -> dict[str, int]:
    """How many emails have each verdict.

    `processed` counts emails finished either way, `failed` those of them that failed, and `reasons`
    all of them that have a reason, by reason.
    """
    unknown = sum(reasons.get(code, 0) for code in UNKNOWN)
    ok = processed - sum(reasons.values())
    counts = (ok, processed - failed - unknown - ok, unknown, failed)
    return dict(zip(VERDICTS, counts, strict=True))


def bounded(counts: Counter[str]) -> dict[str, int]:
    """Return the counts by reason, the rarest of more than MAX_REASONS under OTHER_REASONS."""
    kept = dict(counts.most_common(MAX_REASONS))
    rest = counts.total() - sum(kept.values())
    if rest:
        kept[OTHER_REASONS] = kept.get(OTHER_REASONS, 0) + rest
    return kept
