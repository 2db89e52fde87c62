"""Lines are plain if they have a plain local part that is no role, and a short domain."""

import re

from hypothesis import example, given, settings
from hypothesis import strategies as st

from processors.mailboxes import ROLES
from processors.plain_lines import PlainLines
from processors.short_texts import LONGEST, Numbers
from processors.syntax import ATOM_CHARACTERS

_ATOM = f"[{re.escape(ATOM_CHARACTERS)}]+"
PLAIN = re.compile(rf"(?P<local>{_ATOM}(?:\.{_ATOM})*)@(?P<domain>[^@]*)")

LOCALS = (
    st.text(ATOM_CHARACTERS + ".", max_size=5)
    | st.text(st.sampled_from("a.@ é\r"), max_size=70)
    | st.sampled_from(["info", "Info", "no.reply", "NO.x", "do.re", "noreply", "not", "a" * 65])
)
DOMAINS = st.text(st.sampled_from("a.@é \0"), max_size=LONGEST + 2) | st.just("example.com")
LINES = st.builds("{}{}{}".format, LOCALS, st.sampled_from(["@", ""]), DOMAINS)


def is_plain(line):
    """Return whether the line is plain, as PlainLines says."""
    found = PLAIN.fullmatch(line)
    return (
        found is not None
        and len(found["local"]) <= 64
        and found["local"].lower() not in ROLES
        # Those that only begin as a role does are taken for one.
        and not re.match(r"(?:no|do)\.", line, re.IGNORECASE)
        and len(found["domain"].encode()) <= LONGEST
    )


@settings(max_examples=1000)
@given(st.lists(LINES, min_size=1))
@example([""])
@example(["@", "a@", "@a", "a@a@a"])
def test_the_others_are_those_that_are_not_plain(lines):
    plain = PlainLines("\n".join(lines))
    assert plain.others() == [at for at, line in enumerate(lines) if not is_plain(line)]
    assert plain.texts(plain.others()) == [line for line in lines if not is_plain(line)]


@given(st.lists(LINES, min_size=1), st.dictionaries(DOMAINS, st.integers(0, 2)))
def test_each_plain_line_has_the_number_of_its_domain(lines, numbers):
    fitting = {name: each for name, each in numbers.items() if len(name.encode()) <= LONGEST}
    of_lines = {
        at: fitting.get(line.partition("@")[2], -1)
        for at, line in enumerate(lines)
        if is_plain(line)
    }
    found = dict(PlainLines("\n".join(lines)).not_zero(Numbers.of(fitting)))
    assert found == {at: number for at, number in of_lines.items() if number}


def test_every_role_is_left_to_others():
    written = [*ROLES, *map(str.upper, ROLES), *map(str.title, ROLES)]
    plain = PlainLines("\n".join(f"{role}@example.com" for role in written))
    assert plain.others() == [*range(len(written))]
