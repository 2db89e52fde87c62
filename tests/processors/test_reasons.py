import random
import re
from collections import Counter

import pytest

from harness.config import ROOT
from processors import Outcome, ReasonError, checked, reasons, syntax
from processors.reasons import CATALOGUE, UNKNOWN, VERDICTS, explanation, verdict, verdicts


def test_every_code_has_a_verdict_and_a_sentence():
    for code, reason in CATALOGUE.items():
        assert reason.code == code
        assert re.fullmatch(r"[a-z0-9_]{1,40}", code)
        assert re.fullmatch(r"[A-Z].*[^.]\.", reason.explanation)
        assert reason.verdict in VERDICTS[1:] or code == reasons.OTHER_REASONS


def test_every_code_of_the_syntax_is_there():
    codes = {code for _, code in syntax._REASONS} | {"bad_syntax"}
    assert {CATALOGUE[code].verdict for code in codes} == {"invalid"}


def test_every_code_is_documented_with_its_sentence():
    text = (ROOT / "docs/check.md").read_text()
    for code, meaning, sentence in CATALOGUE.values():
        if code != reasons.OTHER_REASONS:
            assert f"| {meaning} | `{code}` | {sentence} |" in text


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        ("pending", None, None),
        ("processed", None, "ok"),
        ("processed", "disposable", "risky"),
        ("processed", "of_our_own", "risky"),
        ("processed", "dns_error", "unknown"),
        ("processed", "unknown", "unknown"),
        ("failed", "no_at_sign", "invalid"),
        ("failed", "of_our_own", "invalid"),
    ],
)
def test_verdicts_follow_from_status_and_reason(status, reason, expected):
    assert verdict(status, reason) == expected


def test_explanations():
    assert explanation(None) == ""
    assert explanation("no_at_sign") == "There is no @-sign."
    assert explanation("not_staff") == "Not staff."
    assert explanation("___") == ""


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("a\u200bb@x.de", ": U+200B."),
        ("a\u200b\u00ad\u200b@x.de", ": U+200B, U+00AD."),
        ("\x01\x02\x03\U000e0041\ufeff@x.de", ": U+0001, U+0002, U+0003 and 2 more."),
        ("a@x.de", "."),
    ],
)
def test_invisible_characters_are_named(address, named):
    sentence = "There are invisible characters in the address"
    assert explanation("invisible_characters", address) == sentence + named
    assert explanation("no_at_sign", address) == "There is no @-sign."


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("processed", "no_at_sign"),
        ("failed", "disposable"),
        ("failed", "unknown"),
        ("failed", "other_reasons"),
        ("processed", "other_reasons"),
        ("processed", "interrupted"),
    ],
)
def test_a_code_of_ours_with_the_wrong_status_is_refused(status, reason):
    with pytest.raises(ReasonError, match=f"the reason '{reason}' is not allowed for a {status}"):
        checked(Outcome(status, reason))


def test_counting_by_reason_comes_to_the_verdicts_of_all():
    source = random.Random(1)
    codes = (None, "of_our_own", *CATALOGUE)
    outcomes = []
    while len(outcomes) < 2000:
        outcome = Outcome(source.choice(["processed", "failed"]), source.choice(codes))
        if outcome.reason is None or reasons.allowed(outcome.status, outcome.reason):
            outcomes.append(outcome if outcome.reason else Outcome("processed"))
    failed = sum(outcome.status == "failed" for outcome in outcomes)
    by_reason = Counter(outcome.reason for outcome in outcomes if outcome.reason)
    expected = Counter(verdict(outcome.status, outcome.reason) for outcome in outcomes)
    assert verdicts(len(outcomes), failed, by_reason) == expected
    assert {*UNKNOWN} == {"dns_timeout", "dns_error", "dns_paused", "unknown", "interrupted"}
    assert {*UNKNOWN} - {*reasons.named("unknown")} == {"interrupted"}
    assert verdicts(0, 0, {}) == dict.fromkeys(VERDICTS, 0)
