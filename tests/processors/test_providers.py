import pytest

from harness import providers
from processors.providers import FREE, is_free
from processors.risks import POPULAR
from processors.syntax import of_domain


@pytest.mark.parametrize(
    "domain",
    [
        *(
            "gmail.com",
            "googlemail.com",
            "outlook.com",
            "hotmail.co.uk",
            "yahoo.co.jp",
            "icloud.com",
        ),
        *("gmx.de", "web.de", "t-online.de", "freenet.de", "laposte.net", "libero.it", "wp.pl"),
        *("seznam.cz", "mail.ru", "yandex.ru", "qq.com", "163.com", "naver.com", "daum.net"),
        *("uol.com.br", "rediffmail.com", "proton.me", "tutanota.com", "mail.com", "abv.bg"),
    ],
)
def test_free_providers_are_known(domain):
    assert is_free(domain)


def test_others_are_not_free():
    others = (*providers.OTHERS, "example.com", "google.com", "mailinator.com", "de", "")
    assert [domain for domain in others if is_free(domain)] == []
    assert not is_free("mail.gmail.com")


def test_most_popular_domains_are_free():
    assert sum(map(is_free, POPULAR)) > 0.7 * len(POPULAR)


def test_each_is_a_domain_in_normal_form():
    for domain in FREE:
        assert of_domain(domain) == (None, None, domain)
