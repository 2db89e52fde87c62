"""The page in headless Chromium for people who sign in."""

import pytest
from playwright.sync_api import expect

from harness.site import basic, sign_in
from web.access import users


@pytest.fixture
def alice(tmp_path):
    users.add(tmp_path / "users", "alice", "correct horse")
    users.add(tmp_path / "users", "bob", "battery staple")
    return {"http_credentials": {"username": "alice", "password": "correct horse"}}


def test_all_of_the_page_works_and_says_who_did_what(alice, processes, open_page, slow, tmp_path):
    site = processes("app.py").site()
    processes("worker.py", **slow)
    page = open_page(**alice)
    page.goto(site.url)
    expect(page.locator(".version")).to_contain_text("alice")
    (tmp_path / "list.csv").write_text("".join(f"{n}@x.de\n" for n in range(20_000)))
    page.set_input_files("#file", tmp_path / "list.csv")
    expect(page.locator("#detected")).to_be_visible()
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url("**/batches/1")
    expect(page.locator(".facts").first).to_contain_text("by alice")
    # The stream works, with a password too; what others do comes by it.
    expect(page.locator('[data-field="status"]')).to_have_text("processing")
    expect(page.locator('[data-field="processed"]')).not_to_have_text("0")
    bob = sign_in(site, basic("bob", "battery staple"))
    assert bob.request("POST", "/api/batches/1/cancel").status == 200
    expect(page.locator("#history")).to_contain_text("Cancelled by bob")
