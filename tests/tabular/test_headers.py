"""Which row is the header, and how much its names say."""

import pytest

from tabular import headers
from tabular.headers import Rank

EXACT = (
    *(
        "email",
        "E-Mail",
        "e_mail",
        "Email Address",
        "E-mail 1 - Value",
        "E-Mail-Adresse",
        "Adresse e-mail",
    ),
    *("Correo electrónico", "Dirección de correo electrónico", "E-posta", "Sähköpostiosoite"),
    *("Электронная почта", "メールアドレス", "电子邮件地址", "이메일 주소", "البريد الإلكتروني"),
)
PART = ("Manager Email", "Old E-Mail", "email_verified", "Chef E-Mail privat")
NOTHING = ("name", "Mailand", "Emailliert", "handle", "anna@email.de", "", "x" * 10_000)


@pytest.mark.parametrize(
    ("name", "due"),
    [
        *((name, Rank.EXACT) for name in EXACT),
        *((name, Rank.PART) for name in PART),
        *((name, Rank.NOTHING) for name in NOTHING),
    ],
)
def test_what_a_name_says(name, due):
    assert headers.rank(name) is due


@pytest.mark.parametrize(
    ("rows", "due"),
    [
        ([["email"], ["a@x.de"]], (0, True)),
        ([["List of October", ""], ["", ""], ["Name", "Email"], ["Anna", "a@x.de"]], (2, True)),
        ([["# made on Monday"], ["email", "name"], ["a@x.de", "Anna"]], (1, True)),
        # The lower of two.
        ([["Person", "Email"], ["Name", "Email"], ["Anna", "a@x.de"]], (1, True)),
        ([["List", ""], ["Wer", "Wohin"], ["Anna", "a@x.de"]], (1, False)),
        ([["a@x.de"], ["email"]], (0, False)),
    ],
)
def test_where_the_header_is(rows, due):
    assert headers.header_index(rows, None) == due


def test_a_column_that_a_person_names_makes_a_row_the_header():
    rows = [["Stand: Oktober", ""], ["Wer", "Wohin"], ["Anna", "a@x.de"]]
    assert headers.header_index(rows, "WOHIN") == (1, True)


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("a@x.de,b@x.de\n", True),
        ("a@x.de\nb@x.de;c@x.de\n\n", True),
        ("Anna <a@x.de>, Bob <b@x.de>, Cl", True),
        ("Smith, Anna <a@x.de>; Jones, Bob <b@x.de>\n", True),
        ("a@x.de\nb@x.de\n", False),
        ("a@x.de, b@x.d", False),
        ("Anna,a@x.de\nBob,b@x.de\n", False),
        ("email\na@x.de,b@x.de\n", False),
        ('a@x.de\n"b@x.de\nc@x.de"\n', False),
        # On a single line, some may be malformed.
        ("a@x.de, kim@@x.de, bob.example.org, c@x.de\n", True),
        ("a@x.de, bob.example.org\n", False),
        ("Ann,a@work.de,a@home.de,1.5\n", False),
        ("a@x.de,b@x.de,29.11.2026\n", False),
        ("a@x.de, bob.example.org, c@x.de\nd@x.de\n", False),
    ],
)
def test_which_text_is_a_list(text, due):
    assert headers.is_list(text, whole=text.endswith("\n")) is due
