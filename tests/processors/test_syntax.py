"""The quick way and the email-validator package must always agree: reason, normal form, domain."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.effort import least_seconds
from processors import syntax
from processors.plain_lines import PlainLines
from processors.short_texts import LONGEST
from processors.syntax import by_library, parse, parts

# A character of four bytes, which Unicode takes apart into more.
NOTE = "\U0001d160"
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
    *(f"{'a' * length}@{'.'.join(['b' * 58] * 3)}.community" for length in range(60, 70)),
    *(f"{'a' * length}@{'.'.join(['ü' * 50] * 3)}.de" for length in range(1, 64, 7)),
    *(f"{'a' * length}@{'.'.join(['xn--mller-kva'] * 15)}.example.com" for length in range(1, 40)),
    "INFO@example.com",
    "Info+Tag@example.com",
    "WWW@MÜLLER.de",
    "anna@\u0338example.com",
    "anna<\u0338@example.com",
    "anna@<bob@example.com>",
    'anna"@example.com',
    'anna@"example.com',
    "anna@example.com>",
    "anna@[IPv6:::1]",
    "anna@[::1]",
    "anna@exa\u00admple.com",
    "anna@example\u3002com",
    "anna@EXAMPLE.XN--P1AI",
    "anna@faß.de",
    "anna@1.אב.com",
    "anna@" + "a." * 200 + "com",
    "anna@" + "a." * 88 + "com",
    "anna@" + "a-" * 32 + "a.com",
    "anna@" + "a-" * 31 + "a.com",
    "anna@" + "a" * 63 + ".Com",
    "anna@a--b.com",
    "anna@example.com1",
    "anna@x.local.example.com",
    "anna@\u212aelvin.com",
    '"info"@example.com',
    '"an\\"na"@example.com',
    "ANNA＠EXAMPLE.COM",
    "anna\ufe6bexample.com",
    "@",
    "@@",
    "<>",
    '"',
    *("a" * (242 + more) + "@example.com" for more in (0, 1)),
    *("a" * (254 + more) for more in (0, 1)),
    "Anna " * 60 + "<anna@example.com>",
    *(NOTE * (62 + more) + "@x.de" for more in (0, 1)),
    *("anna@" + "\u0390" * (93 + more) + ".de" for more in (0, 1)),
    *("a@" + NOTE * (62 + more) + ".de" for more in (0, 1)),
]


def test_what_is_too_long_is_not_looked_at(monkeypatch):
    monkeypatch.setattr(syntax, "validate_email", None)
    for address in (NOTE * 64, "a" * 64 + "@" + NOTE * 48, '"a"' + "@" + "a" * 251):
        assert parse(address).reason == by_library(address).reason == "too_long"


def assert_agree(address):
    expected = by_library(address)
    assert parse(address) == expected
    (its_domain,) = syntax.domains([address])
    form = expected.normalized or ""
    if syntax.is_normal(its_domain):
        assert address == form
        assert its_domain == form.rpartition("@")[2]
    # It needs no quotes in a CSV file whose delimiter isn't in the address.
    assert set(form) & set(',;|\t\n"') <= set(address)
    reason, local, domain = parts(address)
    assert (reason, domain or None) == (expected.reason, expected.domain)
    if reason is None:
        assert address.startswith(f"{local}@")


@pytest.mark.parametrize("address", HARD)
def test_agrees_on_hard_addresses(address):
    assert_agree(address)


LOCALS = st.one_of(
    st.text(st.sampled_from("abcXYZ019.!#$%&'*+-/=?^_`{|}~"), max_size=70),
    st.text(st.sampled_from('a."\\ @<>(),:;[]éß用\u00a0\n\t'), max_size=10),
    st.text(max_size=10),
    st.text(max_size=3).map(lambda text: text * 200),
    st.sampled_from(["info", "Info", "WEBMASTER", "www", "INFO.x"]),
)
DOMAINS = st.one_of(
    st.text(st.sampled_from("abcXYZ019.-"), max_size=80),
    st.text(st.sampled_from("ab1-."), max_size=12).map("{}.com".format),
    st.builds("{}.{}".format, st.text(st.sampled_from("ab-1"), max_size=70), st.just("com")),
    st.sampled_from(["example.com", "xn--mller-kva.de", "localhost", "a.test", "b.local"]),
    st.builds("{}.{}".format, st.text(st.sampled_from("üößA用あאn-1"), max_size=70), st.just("De")),
    st.text(max_size=10),
    st.text(max_size=3).map(lambda text: text * 200),
)


@settings(max_examples=2000)
@given(DOMAINS)
@example("ⅷ.De")
@example("xn--80ak6aa92e.com")
def test_a_domain_as_it_is_looked_up_is_well_formed_for_every_local_part(domain):
    found = syntax.of_domain(domain)
    if found is not None and found.domain is not None and len(found.domain) <= LONGEST:
        assert syntax.of_domain(found.domain) == (None, None, found.domain)


@settings(max_examples=700)
@given(LOCALS, DOMAINS, st.sampled_from(["@", "", "@@", " @"]))
def test_agrees_on_anything(local, domain, between):
    address = f"{local}{between}{domain}"
    assert_agree(address)


# What malformed addresses are made of; all of the same shape come out alike.
SCRAPS = st.sampled_from(
    [*""".@-_ <>"'()\\[],;:+\t\n""", "..", "a", "b7", "0", "Z.z", "x.com", "Y.de", "1.2.3.4"]
    + ["xn--p1ai", "local", "test", "example"]
)


@settings(max_examples=1200)
@given(st.lists(SCRAPS, max_size=9).map("".join))
def test_agrees_on_scraps(address):
    assert_agree(address)


PLAIN = st.builds("{}@{}".format, st.sampled_from("ab"), st.sampled_from(["x.com", "y.de", "Z.fr"]))
# With these beside each other, what belongs to which is easily mistaken.
PARTS = st.lists(st.sampled_from(["a", "x.com", "y.com", "@", "\n", "..", "Info", "ü"]), max_size=6)


@settings(max_examples=500)
@example(["a", "x.com@a@y.com"], 0)
@example(["a", "x.com@\n@y.com"], 0)
@given(st.lists(PLAIN | PARTS.map("".join), max_size=80), st.integers(0, 80))
def test_many_at_once_are_their_own_normal_forms_if_their_domains_are(addresses, repeated):
    addresses += addresses[:1] * repeated
    assert_own_forms(addresses)


def assert_own_forms(addresses):
    """An address whose domain is normal is its own normal form."""
    for address, domain in zip(addresses, syntax.domains(addresses), strict=True):
        if syntax.is_normal(domain):
            assert address == parse(address).normalized
            assert domain == address.rpartition("@")[2]


@pytest.mark.parametrize("address", HARD)
def test_a_hard_address_among_plain_ones_is_told_from_them(address):
    plain = [f"user{number}@example.com" for number in range(99)]
    assert_own_forms([*plain, address, *plain])


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("anna", "no_at_sign"),
        ('an"na@example.com', "bad_local_part"),  # it has an @-sign, though behind an open quote
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
    assert parse(address) == (reason, None, None)


@pytest.mark.parametrize(
    ("address", "normal", "domain"),
    [
        ("Anna.O'Neil@Example.COM", "Anna.O'Neil@example.com", "example.com"),
        ("INFO@Example.com", "info@example.com", "example.com"),
        ("PostMaster@example.com", "postmaster@example.com", "example.com"),
        ("anna@M\u00dcller.de", "anna@m\u00fcller.de", "xn--mller-kva.de"),
        ("anna@xn--mller-kva.de", "anna@m\u00fcller.de", "xn--mller-kva.de"),
        ("ju\u0308rgen@example.de", "j\u00fcrgen@example.de", "example.de"),
    ],
)
def test_the_normal_form_and_the_domain_as_the_dns_has_it(address, normal, domain):
    assert parse(address) == (None, normal, domain)


LONG = [
    ("a" * 64, None),
    ("a" * 65, "too_long"),
    ("a." * 32 + "a", "too_long"),
    ("é" * 32, None),
    ("é" * 33, "too_long"),
    # Decomposed, 66 bytes as written and 44 in normal form; and the other way round.
    ("e\u0301" * 22, "too_long"),
    ("\u0958" * 11, "too_long"),
    ("a" * 61 + NOTE, "too_long"),
]


@pytest.mark.parametrize(("local", "reason"), LONG)
@pytest.mark.parametrize("domain", ["example.com", "Example.COM", "müller.de"])
def test_a_local_part_of_more_than_64_bytes_is_too_long(local, reason, domain):
    address = f"{local}@{domain}"
    assert parse(address).reason == reason
    assert_agree(address)


@given(
    st.lists(st.sampled_from(["a" * 20, "b.c", "é", "e\u0301", NOTE, "A-"]), max_size=9),
    st.integers(50, 66),
    st.sampled_from(["x.de", "müller.de", "b" * 63 + ".example.com"]),
)
def test_every_way_counts_the_bytes_of_a_local_part(parts_of_it, length, domain):
    local = "".join(parts_of_it).ljust(length, "z")
    assert_agree(f"{local}@{domain}")
    if parse(f"{local}@{domain}").reason is None:
        assert len(local.encode()) <= 64


def test_what_is_malformed_has_no_normal_form():
    assert parse("anna@@example.com").normalized is None


ENDLESS = {
    "letters": "a" * 130_000,
    "plain": "a" * 130_000 + "@example.com",
    "domain": "a@" + "b." * 65_000 + "com",
    "marks": "a" + "\u0301" * 130_000 + "@example.com",
    "unordered marks": "a" + "\u0301\u0316" * 65_000 + "@example.com",
    "marks in the domain": "a@a" + "\u0301\u0316" * 65_000 + ".com",
    "marks without an @": "a" + "\u0301\u0316" * 65_000,
    "quoted": '"' + "a\u0316\u0301" * 43_000 + '"@example.com',
    "name": "a\u0316\u0301" * 43_000 + " <a@example.com>",
    "signs": "@" * 130_000,
    "roles": "info-" * 26_000 + "@example.com",
    "ligatures": "a@" + "\ufdfa." * 65_000 + "com",
}


@pytest.mark.parametrize("address", ENDLESS.values(), ids=ENDLESS)
def test_an_endless_address_is_too_long_before_anything_else_looks_at_it(address):
    def look() -> None:
        for ask in (by_library, parse):
            assert ask(address) == ("too_long", None, None)
        assert parts(address)[0] == "too_long"
        domains = syntax.domains([address, "a@example.com", address])
        assert [*map(syntax.is_normal, domains)] == [False, True, False]
        plain = PlainLines(f"a@example.com\n{address}\na@example.org")
        assert plain.others() == [1]

    # Some thousandths; the package takes a second for some of these, and a minute for others.
    assert least_seconds(look) < 0.3
