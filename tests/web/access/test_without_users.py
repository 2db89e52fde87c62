"""Without users, only this machine is served."""

import re

import pytest

from harness.config import write_config
from runtime.settings import SettingsError
from web.access.sign_in import Access

EVERYWHERE = "0.0.0.0"  # noqa: S104


def test_without_users_only_this_machine_is_served(make_settings):
    for host in ("127.0.0.1", "localhost", "::1", "127.8.8.8"):
        Access(make_settings(server__host=host))
    for host in (EVERYWHERE, "::", "192.0.2.1", "example.org"):
        with pytest.raises(
            SettingsError,
            match=f"reaches {host} could see all batches. Run .venv/bin/python app.py",
        ):
            Access(make_settings(server__host=host))
        Access(make_settings(server__host=host, access__allow_anonymous="yes"))
        Access(
            make_settings(
                server__host=host,
                access__trusted_user_header="X-Remote-User",
                access__trusted_proxies="192.0.2.9",
            )
        )


def test_with_users_any_address_is_served(make_settings, users_file):
    Access(make_settings(server__host=EVERYWHERE))


def test_app_py_refuses_to_serve_others_and_ends(tmp_path, run):
    config = str(write_config(tmp_path, server__port=0))
    process = run("app.py", "--config", config, "--host", EVERYWHERE)
    assert process.wait() == 2
    assert "Nobody has to sign in" in process.output
    assert "--add-user NAME" in process.output
    assert len(process.lines) == 1


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1:80", "[::1]:8080"])
def test_this_machines_own_names_lead_to_a_server_without_users(site, host):
    assert site.get("/api/health", Host=host).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "10.0.0.5",
        "[2001:db8::1]",
        "",
    ],
)
def test_other_names_that_lead_here_do_not(site, host):
    # Such as a name of somebody's that was made to lead to 127.0.0.1 (DNS rebinding).
    response = site.get("/api/health", Host=host)
    assert (response.status, response.json["code"]) == (403, "not_local")


def test_the_page_that_says_so_has_its_style(site):
    page = site.get("/", Host="evil.example")
    assert page.status == 403
    assert "<h1>This isn&#039;t allowed</h1>" in page.body.decode()
    styles = re.findall(r'rel="stylesheet" href="([^"]+)"', page.body.decode())
    assert styles
    for path in styles:
        assert site.get(path, Host="evil.example").status == 200
    for path in ("/static/../api/health", "/static/", "/static"):
        assert site.get(path, Host="evil.example").status in (403, 404)
