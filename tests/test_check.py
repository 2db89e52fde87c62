"""The quick way and the email-validator package must always agree, reason included."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors import PROCESSED, failed
from processors.check import by_library, check, check_one

HARD = [
    "anna@example.com",
    "Anna.O'Neil+tag@Example.COM",
    "a@b.co",
    "!#$%&'*+-/=?^_`{|}~@example.org",
    ".anna@example.com",
    "anna.@example.com",
    "an..na@example.com",
    "an na@example.com",
    '"anna"@example.com',
    '"an@na"@example.com',
    "anna@",
    "@example.com",
    "anna",
    "",
    "anna@@example.com",
    "anna@example",
    "anna@example.c0m",
    "anna@localhost",
    "anna@host.local",
    "anna@-example.com",
    "anna@example-.com",
    "anna@ab--cd.com",
    "anna@exa_mple.com",
    "anna@example..com",
    "anna@.example.com",
    "anna@example.com.",
    "anna@[127.0.0.1]",
    "anna@127.0.0.1",
    "anna@xn--mller-kva.de",
    "anna@xn--a.de",
    "anna@müller.de",
    "jürgen@example.de",
    "用户@例子.广告",
    "anna\u00a0b@example.com",
    "Anna <anna@example.com>",
    "<anna@example.com>",
    "anna@example.com, bob@example.com",
    "anna＠example.com",
    "anna@example.com\n",
    "anna@exam\tple.com",
    f"{'a' * 64}@example.com",
    f"{'a' * 65}@example.com",
    f"anna@{'b' * 63}.com",
    f"anna@{'b' * 64}.com",
    f"anna@{'.'.join(['b' * 60] * 4)}.com",
    f"{'a' * 64}@{'.'.join(['b' * 60] * 3)}.com",
    f"{'a' * 64}@{'.'.join(['b' * 61] * 3)}.community",
]


@pytest.mark.parametrize("address", HARD)
def test_agrees_on_hard_addresses(address):
    assert check_one(address) == by_library(address)


LOCALS = st.one_of(
    st.text(st.sampled_from("abcXYZ019.!#$%&'*+-/=?^_`{|}~"), max_size=70),
    st.text(st.sampled_from('a."\\ @<>(),:;[]éß用\u00a0\n\t'), max_size=10),
    st.text(max_size=10),
)
DOMAINS = st.one_of(
    st.text(st.sampled_from("abcXYZ019.-"), max_size=80),
    st.builds("{}.{}".format, st.text(st.sampled_from("ab-1"), max_size=70), st.just("com")),
    st.sampled_from(["example.com", "xn--mller-kva.de", "localhost", "a.test", "b.local"]),
    st.text(max_size=10),
)


@settings(max_examples=1500, deadline=None)
@given(LOCALS, DOMAINS, st.sampled_from(["@", "", "@@", " @"]))
def test_agrees_on_anything(local, domain, between):
    address = f"{local}{between}{domain}"
    assert check_one(address) == by_library(address)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("anna", "no_at_sign"),
        ("@example.com", "no_local_part"),
        ("anna@", "no_domain"),
        ("an na@example.com", "bad_local_part"),
        ("anna@exa_mple.com", "bad_domain"),
        ("anna@example", "no_top_level_domain"),
        ("anna@server.local", "reserved_domain"),
        ('"anna"@example.com', "quoted_local_part"),
        ("anna@[127.0.0.1]", "ip_address"),
        ("Anna <anna@example.com>", "display_name"),
        (f"anna@{'b' * 64}.com", "too_long"),
    ],
)
def test_a_malformed_address_fails_with_its_reason(address, reason):
    assert check_one(address) == failed(reason)


def test_yields_one_outcome_for_each_address_lazily():
    def addresses():
        yield "anna@example.com"
        yield "anna"
        raise AssertionError("asked for more than was taken")

    outcomes = check(addresses())
    assert [next(outcomes), next(outcomes)] == [PROCESSED, failed("no_at_sign")]
