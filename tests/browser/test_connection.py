"""What the pages do while the line to the server, or the server, is not there; and many tabs."""

import signal

import pytest
from playwright.sync_api import expect

from harness.batches import completed
from harness.browsing import AWAY, await_completed, field, is_live, list_of
from harness.files import csv_of
from harness.polling import eventually


class TestConnection:
    @pytest.mark.parametrize("shared", [True, False])
    def test_seven_tabs_stay_live(self, open_page, site, processes, slow, shared):
        batch_id = site.upload(list_of(300)).json["batchId"]
        first = open_page()
        if not shared:
            first.context.add_init_script("delete window.SharedWorker")
        pages = [first, *(open_page(first.context) for _ in range(6))]
        for number, page in enumerate(pages):
            page.goto(f"{site.url}/batches/{batch_id}" if number % 2 else site.url)
            if not shared and number < 6:
                hide(page)
        for number, page in enumerate(pages):
            if shared or number == 6:
                is_live(page, "#status" if number % 2 else "#recent")
        processes("worker.py", **slow)
        for number, page in enumerate(pages):
            if not shared and number < 6:
                hide(page, hidden=False)
            root = "#status" if number % 2 else "#recent"
            expect(field(page, "status", root)).to_have_text("completed", timeout=80_000)
            if not shared:
                hide(page)
        # And an ordinary request still gets through.
        assert pages[-1].evaluate("fetch('/api/batches').then((answer) => answer.status)") == 200

    def test_the_page_polls_when_streams_are_used_up_and_goes_back_to_live(
        self, open_page, processes
    ):
        site = processes("app.py", server__max_streams=1).site()
        batch_id = site.upload(csv_of("a@x.de")).json["batchId"]
        page = open_page(allowed=AWAY)
        with site.stream(batch_id) as stream:
            next(stream.events())
            page.goto(f"{site.url}/batches/{batch_id}")
            connection = field(page, "connection")
            expect(connection).to_have_text("updates every 2 seconds")
            processes("worker.py")
            await_completed(page)
        home = open_page(page.context, allowed=AWAY)
        page.close()
        home.goto(site.url)
        expect(field(home, "connection", "#recent")).to_have_text("live", timeout=80_000)

    def test_a_batch_that_is_deleted_while_nothing_comes_says_so(self, open_page, processes):
        site = processes("app.py", server__max_streams=1).site()
        batch_id = completed()
        page = open_page(allowed=AWAY + "|responded with a status of 404")
        with site.stream() as stream:
            next(stream.all_events())
            page.goto(f"{site.url}/batches/{batch_id}")
            expect(field(page, "connection")).to_have_text("updates every 2 seconds")
            for _ in range(2):  # when it asks again, it has taken the first answer
                page.wait_for_event("request", lambda it: it.url.endswith(f"/batches/{batch_id}"))
            assert site.request("DELETE", f"/api/batches/{batch_id}").status == 204
            expect(page.locator("#message")).to_have_text("This batch has been deleted.")
            expect(field(page, "status")).to_have_text("deleted")
            expect(field(page, "connection")).to_have_text("updates every 2 seconds")

    @pytest.mark.parametrize("texts", [None, {"later": "x"}])
    def test_a_page_understands_an_app_of_another_version(self, open_page, processes, texts):
        """Its report on the health has no texts, or one that this page has no place for."""
        site = processes("app.py", server__max_streams=1).site()
        batch_id = site.upload(csv_of("a@x.de")).json["batchId"]
        page = open_page(allowed=AWAY)

        def other_version(route):
            report = route.fetch().json()
            shown = report.pop("texts")
            if texts is not None:
                report["texts"] = shown | texts
            route.fulfill(json=report)

        page.route("**/api/health", other_version)
        with site.stream(batch_id) as stream:
            next(stream.events())
            page.goto(f"{site.url}/batches/{batch_id}")
            for _ in range(2):
                page.wait_for_event("requestfinished", lambda it: it.url.endswith("/api/health"))
            expect(field(page, "connection")).to_have_text("updates every 2 seconds")
            processes("worker.py")
            await_completed(page)

    def test_a_tab_opens_a_stream_of_its_own_only_while_the_shared_one_is_silent(
        self, open_page, site
    ):
        """Not because the tab was hidden or asleep, when its timers may not have run."""
        batch_id = site.upload(csv_of("a@x.de")).json["batchId"]
        page = open_page()
        streams = []  # of its own: those of a worker are none of the page's requests
        page.on("request", lambda it: it.url.endswith("/stream") and streams.append(it.url))
        ended = []
        page.on("requestfailed", lambda it: it.url.endswith("/stream") and ended.append(it.url))
        page.clock.install()
        page.goto(f"{site.url}/batches/{batch_id}")
        is_live(page)
        page.clock.fast_forward(60_000)  # as after a sleep: each timer runs once
        is_live(page)
        hide(page)
        page.clock.run_for(60_000)  # in which no message comes, because it takes no time
        is_live(page)
        assert streams == []
        hide(page, hidden=False)
        page.clock.run_for(7_000)
        is_live(page)
        # The worker is heard again, because it was well.
        eventually(lambda: page.wait_for_timeout(1) or ended == streams)
        is_live(page)
        assert len(streams) == 1
        site.request("POST", f"/api/batches/{batch_id}/cancel")
        expect(field(page, "status")).to_have_text("cancelled")

    def test_the_page_reconnects_when_the_app_comes_back(self, open_page, processes):
        app = processes("app.py")
        site = app.site()
        batch_id = site.upload(csv_of("a@x.de")).json["batchId"]
        page = open_page(allowed=AWAY)
        page.goto(f"{site.url}/batches/{batch_id}")
        is_live(page)

        def notices_that_it_is_away():
            expect(field(page, "connection")).to_have_text("reconnecting…")
            expect(page.locator("#notice")).to_contain_text("The server can't be reached.")

        app.send(signal.SIGSTOP)  # its connections stay open, and nothing comes
        notices_that_it_is_away()
        app.send(signal.SIGCONT)
        is_live(page)
        app.stop(signal.SIGKILL)
        notices_that_it_is_away()
        processes("app.py", "--port", str(site.port)).site()
        is_live(page)
        expect(page.locator("#notice")).to_contain_text("No worker is running")
        processes("worker.py")
        await_completed(page)


def hide(page, hidden=True):
    """Make the tab think that it is in the background, or not; a headless browser shows all."""
    page.evaluate(
        """(hidden) => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )
