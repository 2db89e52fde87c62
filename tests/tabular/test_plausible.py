import pytest

from tabular.plausible import is_punctuation, plausibility


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("Müller; GRÖßE; O’Neil", "M¸ller; GR÷þE; O’Neil"),  # symbols in words
        ("Łódź", "£ódŸ"),
        ("Вера Ильина", "бЕПЮ хКЭХМЮ"),  # capitals behind small letters
        ("Jürgen", "JŸrgen"),
        ("Zoë", "Zoλ"),  # letters of two scripts
        ("Söhne", "Sﾖhne"),
        ("Peña", "Pe単a"),
        ("Ayşe Yıldız, Muğla, Çay", "Ayþe Yýldýz, Muðla, Çay"),  # no language has all of them
        ("Žukauskas, Ąžuolas, Šėta", "Þukauskas, Àþuolas, Ðëta"),
        ("שלום", "\u05b6\u05b8"),  # marks without letters
    ],
)
def test_what_people_write_is_more_plausible_than_what_a_wrong_encoding_makes_of_it(right, wrong):
    assert plausibility(wrong) < plausibility(right) <= 1


def test_every_language_is_plausible_and_no_control_character_is():
    texts = ["Łódź", "Győr", "Ķemeri", "Ýr Ægisdóttir", "João", "Ελένη", "Пётр", "東京", "서울"]
    assert {text: plausibility(text) for text in texts} == dict.fromkeys(texts, 1)
    assert plausibility("M\x81ller") == plausibility("\ue000") == 0
    assert plausibility("Anna Roe") == plausibility("") == 1


@pytest.mark.parametrize("text", ["5 €", "“Roe” – ‘Doe’…", "m²", "Anna’s", "No. 7", "10 °"])
def test_punctuation_stands_outside_of_words(text):
    assert is_punctuation(text)
    assert not is_punctuation(text + " é")


@pytest.mark.parametrize("text", ["Gar–on", "K”ln", "Jos‚Maria", "Zo\x8e", "Roe±"])
def test_what_stands_in_a_word_is_no_punctuation(text):
    assert not is_punctuation(text)
