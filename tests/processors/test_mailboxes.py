import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.mailboxes import ROLES, is_role, pattern_of


@pytest.mark.parametrize("local", ["info", "INFO", "postmaster", "no-reply"])
def test_roles_are_known_whatever_their_case(local):
    assert is_role(local)


@pytest.mark.parametrize("local", ["anna", "infos", "info.anna", "a" * 60, ""])
def test_people_are_no_roles(local):
    assert not is_role(local)


@given(st.sets(st.text("abc-", max_size=4), min_size=1), st.text("abcABC-", max_size=5))
def test_a_pattern_of_names_fits_these_and_no_others_in_either_case(names, text):
    assert bool(re.fullmatch(pattern_of(names), text)) == (text.lower() in names)


def test_the_pattern_of_all_roles_fits_each():
    pattern = re.compile(pattern_of(ROLES))
    assert all(pattern.fullmatch(role) and pattern.fullmatch(role.upper()) for role in ROLES)
