"""Behind a proxy: whom the app believes about users and addresses; paths that proxies misread."""

import pytest

from harness.polling import eventually
from web.access.sign_in import Access


@pytest.mark.parametrize(
    "path",
    [
        *("/%ffmetrics", "/metrics%ff", "/api/%c3", "/%ed%a0%80", "/%c0%af"),
        *("/api/batches?q=%ff", "/api/batches/1/emails?verdict=%c3", "/?q=%ed%a0%80"),
    ],
)
def test_an_address_that_is_not_utf_8_leads_nowhere(site, path):
    response = site.get(path)
    assert response.status == 400
    if path.startswith("/api/"):
        assert response.json["code"] == ("bad_parameter" if "?" in path else "bad_path")
    assert "not UTF-8" in response.body.decode()


class TestBehindAProxy:
    @pytest.fixture
    def proxied(self, serve):
        return serve(
            access__trusted_user_header="X-Remote-User",
            access__trusted_proxies="127.0.0.1 10.1.0.0/16",
        )

    def test_the_proxy_says_who_it_is(self, proxied):
        page = proxied.get("/", X_Remote_User="böb".encode().decode("latin-1"), Host="a.example")
        assert '<span class="user">böb</span>' in page.body.decode()

    @pytest.mark.parametrize("name", [None, "", "alice, böb", "a b", "<b>", "\xff"])
    def test_without_a_name_nobody_gets_in(self, proxied, name):
        headers = {} if name is None else {"X_Remote_User": name}
        response = proxied.get("/api/health", **headers)
        assert (response.status, response.json["code"]) == (403, "no_user")

    def test_nobody_else_may_say_so(self, serve):
        site = serve(
            access__trusted_user_header="X-Remote-User", access__trusted_proxies="10.1.0.0/16"
        )
        response = site.get("/api/health", X_Remote_User="alice")
        assert (response.status, response.json["code"]) == (403, "untrusted_proxy")

    def test_the_header_counts_only_where_it_is_set_up(self, closed):
        response = closed.get("/api/health", X_Remote_User="alice", Remote_User="alice")
        assert response.status == 401

    def test_clients_are_told_apart_by_what_the_last_untrusted_one_is(self, make_settings):
        entry = Access(make_settings(access__trusted_proxies="127.0.0.1 10.1.0.0/16"))
        assert entry._client("127.0.0.1", "1.1.1.1, 192.0.2.7, 10.1.2.3") == "192.0.2.7"
        assert entry._client("192.0.2.1", "1.1.1.1") == "192.0.2.1"

    @pytest.mark.parametrize(
        ("forwarded", "client"),
        [
            ("", "127.0.0.1"),
            ("192.0.2.7, ", "127.0.0.1"),
            ("unknown", "127.0.0.1"),
            ("192.0.2.7, unknown, 10.1.2.3", "10.1.2.3"),
            ("10.1.2.3", "10.1.2.3"),
            ("192.0.2.7:4711", "192.0.2.7"),
            ('"192.0.2.7:4711"', "192.0.2.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ('"[2001:db8::7]:4711"', "2001:db8::7"),
            ("fe80::7%eth0", "fe80::7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("[::ffff:192.0.2.7]:4711", "192.0.2.7"),
            ("192.0.2.7, ::ffff:10.1.2.3", "192.0.2.7"),
        ],
    )
    def test_however_proxies_write_an_address_it_is_the_same(
        self, make_settings, forwarded, client
    ):
        entry = Access(make_settings(access__trusted_proxies="127.0.0.1 10.1.0.0/16"))
        assert entry._client("127.0.0.1", forwarded) == client
        assert entry._client("::ffff:127.0.0.1", forwarded) == client

    @pytest.mark.parametrize(
        ("proxies", "remote", "trusted"),
        [
            ("10.1.0.0/16", "10.1.2.3", True),
            ("10.1.0.0/16", "::ffff:10.1.2.3", True),
            ("10.1.0.0/16", "::ffff:10.2.2.3", False),
            ("::ffff:10.1.0.0/112", "10.1.2.3", True),
            ("::ffff:10.1.0.0/112", "::ffff:10.1.2.3", True),
            ("::ffff:10.1.0.0/112", "10.2.2.3", False),
            ("::ffff:127.0.0.1", "127.0.0.1", True),
            ("fe80::/10", "fe80::1%eth0", True),
            ("::/0", "2001:db8::1", True),
            ("10.1.0.0/16", "", False),
        ],
    )
    def test_a_proxy_is_trusted_however_its_address_is_written(
        self, make_settings, proxies, remote, trusted
    ):
        assert Access(make_settings(access__trusted_proxies=proxies)).is_proxy(remote) is trusted

    def test_what_is_refused_for_its_path_is_logged_with_its_client(self, serve, caplog):
        caplog.set_level("INFO", "request")
        site = serve(access__trusted_proxies="127.0.0.1")
        assert site.get("/%ff", X_Forwarded_For="192.0.2.7").status == 400
        eventually(lambda: "status=400" in caplog.text)
        assert "client=192.0.2.7" in caplog.text

    def test_forwarded_headers_of_others_are_not_believed(self, serve):
        for proxies, expected in (("", "http://127.0.0.1"), ("127.0.0.1", "https://x.example")):
            site = serve(access__trusted_proxies=proxies)
            response = site.get(
                "/?batch=7", X_Forwarded_Host="x.example", X_Forwarded_Proto="https"
            )
            assert response.headers["Location"].startswith(expected)
