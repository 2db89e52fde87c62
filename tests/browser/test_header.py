"""The state of the servers at the head of all pages, in Chromium, and what to do."""

import pytest
from playwright.sync_api import expect

from harness.batches import completed, start, store
from harness.browsing import AWAY, field, is_live
from harness.files import csv_of
from harness.polling import eventually
from postgres.database import pool
from relay.presence import ThreadReport

# What is in the page, can have the focus, and is then covered by a long notice at the foot.
COVERED = """
() => {
    notice.querySelector("[data-field=text]").textContent = "long ".repeat(200);
    const focusable = "main :is(a[href], button, input, select, summary, textarea)";
    return [...document.querySelectorAll(focusable)]
        .filter((each) => each.checkVisibility({ visibilityProperty: true }))
        .filter((each) => {
            each.focus();
            return each.getBoundingClientRect().bottom > notice.getBoundingClientRect().top;
        })
        .map((each) => each.outerHTML.slice(0, 80));
}
"""


@pytest.fixture
def site(serve):
    """An app within this process, which `here` can tell how long a worker counts as alive."""
    return serve()


class TestHeader:
    def test_shows_a_live_worker_and_goes_red_when_it_is_gone(self, page, site, here):
        here.announce([ThreadReport(1), ThreadReport(2, 7, 1, 0.5)], rate=96_000.4)
        page.goto(site.url)
        health, notice = page.locator("#health"), page.locator("#notice")
        page.get_by_text("All systems normal").click()
        assert head(page) == ["All systems normal", "1 worker, 2 threads", "96,000 emails/s",
                               "queue empty", "nothing waiting", "PostgreSQL ok",
                               "Redis ok"]  # fmt: skip
        expect(notice).to_be_hidden()
        site.upload(csv_of("a@x.de"))
        expect(health).to_contain_text("oldest waiting: batch 1 for")
        expect(health).to_have_attribute("data-level", "ok")
        here.withdraw()
        expect(health).to_have_attribute("data-level", "error")
        expect(health.get_by_role("status")).to_have_text("No worker is running, so batches wait.")
        expect(notice).to_contain_text(f" ago on {here._host}:{here._pid}.")
        command = site.get("/api/health").json["notice"]["command"]
        expect(notice.locator("code")).to_have_text(command)
        assert head(page)[:4] == ["Not working", "no worker", "0 emails/s", "1 in the queue"]
        notice.locator("code").click()
        assert page.evaluate("getSelection().toString()") == command
        here.announce([ThreadReport(1)], rate=0.0)
        expect(notice).to_be_hidden()
        expect(health).to_have_attribute("data-level", "ok")

    @pytest.mark.parametrize("state", ["alive", "gone", "never", "under way", "no redis"])
    def test_server_and_script_say_the_same(self, page, serve, here, no_redis, state):
        site = serve(no_redis) if state == "no redis" else serve()
        if state in ("alive", "gone"):
            here.announce([ThreadReport(number) for number in range(1200)], rate=1_234_567.9)
        if state == "gone":
            here.withdraw()
        uploaded = site.upload(csv_of("a@x.de")).json
        if state == "under way":
            start(uploaded["batchId"])
        page.goto(site.url)
        rendered, level = texts(page), page.locator("#health").get_attribute("data-level")
        page.locator("#health").evaluate(
            """health => {
                health.dataset.level = "";
                const fields = health.querySelectorAll("[data-field]");
                for (const each of fields) each.textContent = "stale";
            }"""
        )
        expect(page.locator("#health")).to_have_attribute("data-level", level)
        assert texts(page) == rendered

    def test_says_that_the_database_is_away_until_it_is_back(
        self, open_page, serve, here, monkeypatch, tmp_path
    ):
        here.announce([ThreadReport(1)], rate=0.0)
        page = open_page(allowed=AWAY)
        page.goto(serve().url)
        health = page.locator("#health")
        is_live(page, "#recent")
        with monkeypatch.context() as away:
            away.setitem(pool.connect_params, "host", str(tmp_path))

            def noticed():
                pool.close_idle()  # again and again: somebody may be using one
                return health.get_attribute("data-level") == "error"

            eventually(noticed)
            expect(health.get_by_role("status")).to_contain_text("The database can't be reached.")
            expect(health).to_contain_text("PostgreSQL unreachable")
            expect(health.locator("code")).to_be_hidden()
        expect(health).to_have_attribute("data-level", "ok")

    @pytest.mark.parametrize("size", [(320, 568), (360, 740), (1100, 700)])
    def test_a_notice_covers_nothing_that_has_the_focus(self, open_page, site, size):
        batch_id = completed()
        page = open_page(viewport={"width": size[0], "height": size[1]})
        for path in ("/", f"/batches/{batch_id}"):
            page.goto(site.url + path)
            expect(page.locator("#notice")).to_be_visible()
            assert page.evaluate(COVERED) == []

    @pytest.mark.parametrize("width", [360, 1100])
    def test_holds_still_while_its_numbers_run(self, open_page, site, here, width):
        store("a@x.de")
        page = open_page(viewport={"width": width, "height": 740})
        places = []
        for threads, rate in ((1, 0.0), (8, 96_000.0), (128, 1_234_567.0)):
            here.announce([ThreadReport(number) for number in range(threads)], rate)
            page.goto(site.url)
            page.get_by_text("All systems normal").click()
            expect(field(page, "rate", "#health")).to_have_text(f"{int(rate):,} emails/s")
            places.append(
                page.locator("#health").evaluate(
                    """health => [...health.querySelectorAll("li"), health].map((each) => {
                        const { left, top, height } = each.getBoundingClientRect();
                        return [left, top, height];
                    })"""
                )
            )
        assert places[0] == places[1] == places[2]


def head(page):
    names = ("level", "workers", "rate", "queue", "oldest", "database", "redis")
    return [field(page, name, "#health").inner_text() for name in names]


def texts(page):
    """The texts of the header and the notice, without the seconds that pass."""
    return page.locator("#health").evaluate(
        r"""health => [...health.querySelectorAll("[data-field]")].map(
            (each) => each.textContent.replace(/\d+ (s|min)\b/, "…"))"""
    )
