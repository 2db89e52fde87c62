"""The page of a batch, in Chromium: progress, retries, what else happens to the batch."""

import re

import pytest
from playwright.sync_api import expect

from harness.batches import ADDRESSES, completed, store, take_turn, wait_for
from harness.books import query
from harness.browsing import (
    WATCH_SHIFTS,
    assert_nothing_moved,
    await_completed,
    await_worker,
    field,
    is_live,
    list_of,
    upload,
)
from harness.polling import eventually


class TestBatch:
    @pytest.mark.parametrize("width", [360, 1440])
    def test_progress_is_seen_live_and_nothing_goes_back_or_moves(
        self, open_page, site, processes, slow, width
    ):
        page = open_page(viewport={"width": width, "height": 900})
        processes("worker.py", **slow)
        await_worker(page, site)
        page.add_init_script(WATCH_SHIFTS)
        page.add_init_script(
            """
            window.seen = [];
            addEventListener("DOMContentLoaded", () => {
                const processed = document.querySelector("#status [data-field=processed]");
                if (!processed) return;
                const note = () => window.seen.push(Number(processed.textContent.replace(",", "")));
                new MutationObserver(note).observe(processed, { childList: true });
            });
            """
        )
        upload(page, site, list_of(4000))
        is_live(page)
        page.evaluate("window.before = emails.getBoundingClientRect().top")
        expect(field(page, "rate")).to_have_text(re.compile(r"^[1-9][\d,]*/s$"))
        expect(field(page, "left")).to_have_text(re.compile(r"^\d+:\d\d$"))
        expect(page).to_have_title(re.compile(r"^\d+% · people\.csv"))
        expect(page.locator("link[rel=icon]")).to_have_attribute(
            "href", re.compile(r"/progress/[1-9]\d*\.svg$")
        )
        if width > 360:
            expect(page.locator("#chart")).not_to_have_attribute("data-empty", "")
            rate, most = page.evaluate(
                "() => ['rate', 'most'].map((name) => parseInt(document.querySelector("
                "`#status [data-field=${name}]`).textContent.replace(',', '')))"
            )
            assert most >= rate
        processes("worker.py")  # one that isn't slow
        await_completed(page)
        expect(page.locator("#chart")).to_be_hidden()
        expect(field(page, "ending")).to_have_text(re.compile(r"^Checked in [\d.]+ s$"))
        expect(page.locator(".verdicts")).to_have_text(
            re.compile(r"3,800 ok \(95%\)\s+0 risky \(0%\)\s+0 unknown \(0%\)\s+200 invalid \(5%\)")
        )
        expect(page).to_have_title(re.compile(r"^completed · people\.csv"))
        seen = page.evaluate("window.seen")
        assert len(set(seen)) > 3
        assert seen == sorted(seen)
        assert seen[-1] == 4000
        assert_nothing_moved(page)
        assert page.evaluate("emails.getBoundingClientRect().top === window.before")
        downloads = page.locator(".downloads").bounding_box()["width"]
        page.reload()
        expect(page.locator(".verdicts li:visible")).to_have_count(2)
        assert page.locator(".downloads").bounding_box()["width"] == downloads

    @pytest.mark.parametrize("width", [360, 1440])
    def test_reasons_that_come_move_no_row(self, open_page, site, processes, width):
        page = open_page(viewport={"width": width, "height": 900})
        batch_id = store("info@x.de", "a@mailinator.com", "b", "@x.de", "c@", "d@x").batch_id
        page.goto(f"{site.url}/batches/{batch_id}")

        def place():
            return page.evaluate("emails.getBoundingClientRect().top")

        before = place()
        processes("worker.py")
        await_completed(page)
        expect(page.locator("#reasons li")).to_have_count(6)
        assert place() == before

    def test_rows_that_come_later_than_the_page_around_them_move_nothing(self, open_page, site):
        """The page is written in two parts, as a slow connection brings it: first two rows only."""
        batch_id = store(*(f"info{number}@example.org" for number in range(50))).batch_id
        page = open_page(viewport={"width": 360, "height": 900})
        page.add_init_script(WATCH_SHIFTS)
        blank = '<link rel="icon" href="data:,">'
        page.route("**/blank", lambda route: route.fulfill(body=blank, content_type="text/html"))
        page.goto(f"{site.url}/blank")
        page.evaluate(
            """
            async (html) => {
                const paint = () => new Promise((painted) =>
                    requestAnimationFrame(() => setTimeout(painted)));
                const styled = () => [...document.querySelectorAll("link[rel=stylesheet]")]
                    .every((link) => link.sheet);
                const body = html.indexOf("<body"), rest = html.indexOf('<tr data-email="3"');
                if (body < 0 || rest < body) throw new Error("no third row");
                document.open();
                document.write(html.slice(0, body));
                for (let frame = 0; !styled(); frame++) {
                    if (frame > 1000) throw new Error("no styles");
                    await paint();
                }
                document.write(html.slice(body, rest));
                for (let frame = 0; frame < 3; frame++) await paint();
                document.write(html.slice(rest));
                document.close();
                for (let frame = 0; frame < 3; frame++) await paint();
            }
            """,
            site.get(f"/batches/{batch_id}").body.decode(),
        )
        expect(page.locator("#outcomes")).to_be_visible()
        assert_nothing_moved(page)

    def test_a_retry_goes_back_and_says_so_in_all_tabs(self, page, site, processes):
        batch_id = completed()
        with page.expect_response(
            f"**/api/batches/{batch_id}"
        ):  # which it asks for once it is live
            page.goto(f"{site.url}/batches/{batch_id}")
        answer = site.request("POST", f"/api/batches/{batch_id}/retry?which=failed")
        assert answer.json["requeued"] == 3
        expect(page.locator("#message")).to_have_text("3 emails are checked again.")
        expect(page.locator("#bar")).to_have_attribute("aria-valuenow", "70")
        expect(field(page, "status")).to_have_text("pending")
        processes("worker.py")
        await_completed(page)
        expect(page.locator("#message")).to_have_text("3 emails were checked again.")

    def test_a_batch_that_waits_says_why(self, page, site, processes):
        store("a@x.de")
        batch_id = store("a@x.de").batch_id
        page.goto(f"{site.url}/batches/{batch_id}")
        waiting = page.locator(".waiting")
        expect(waiting).to_have_text("Waiting for a worker · 2 unfinished")
        expect(page.locator("#notice code")).to_have_text(re.compile(r"worker\.py .*--threads 4$"))
        worker = processes("worker.py")
        await_completed(page)
        expect(waiting).to_be_hidden()
        expect(page.locator("#notice")).to_be_hidden()
        worker.stop()
        # Nothing waits for a worker, so that nothing is wrong but that there is none.
        expect(field(page, "workers", "#health")).to_have_text("no worker")

    @pytest.mark.parametrize("scripts", [True, False])
    def test_a_batch_is_paused_and_resumed(self, open_page, site, processes, scripts):
        batch_id = store(*ADDRESSES, chunk_size=5).batch_id
        take_turn(batch_id)
        page, other = open_page(java_script_enabled=scripts), open_page()
        address = f"{site.url}/batches/{batch_id}"
        for each in (page, other):
            each.goto(address)
        page.get_by_role("button", name="Pause").click()
        for each in (page, other):
            expect(each.locator(".paused")).to_have_text("Paused. 5 of 10 checked.")
            expect(field(each, "status")).to_have_text("paused")
            expect(each.locator(".running")).to_be_hidden()
            expect(each.get_by_role("button", name="Pause")).to_be_hidden()
        other.goto(site.url)
        expect(field(other, "status", "#batches")).to_have_text("paused")
        expect(field(other, "pace", "#batches")).to_have_text("50%")
        page.get_by_role("button", name="Resume").click()
        expect(field(other, "status", "#batches")).to_have_text("processing")
        other.goto(address)
        processes("worker.py")
        await_completed(other)
        expect(other.locator("#history")).to_contain_text("Paused")

    @pytest.mark.parametrize(("scripts", "width"), [(True, 360), (False, 1440)])
    def test_a_rate_is_set_changed_and_taken_off(self, open_page, site, scripts, width):
        batch_id = store(*ADDRESSES, chunk_size=5).batch_id
        take_turn(batch_id)
        page, home = open_page(java_script_enabled=scripts), open_page()
        other = open_page(viewport={"width": width, "height": 900})
        other.add_init_script(WATCH_SHIFTS)
        for each in (page, other):
            each.goto(f"{site.url}/batches/{batch_id}")
        home.goto(site.url)
        for given, said in (("600", "At most 600 a minute"), ("1200", "At most 1,200 a minute"),
                            ("", "Limit the rate")):  # fmt: skip
            page.locator(".limit summary").click()
            page.get_by_label("Emails a minute, at most").fill(given)
            page.get_by_role("button", name="Set").click()
            for each in (page, other):
                expect(field(each, "limit")).to_have_text(said)
                expect(each.locator("#per-minute")).to_have_value(given)
            expect(field(home, "limit", "#batches")).to_have_text(said if given else "")
        assert_nothing_moved(other)

    def test_a_rate_that_somebody_types_stays_while_another_is_set(self, page, site):
        batch_id = store("a@x.de").batch_id
        page.goto(f"{site.url}/batches/{batch_id}")
        is_live(page)
        page.locator(".limit summary").press("Enter")
        page.keyboard.press("Tab")
        page.keyboard.type("7")
        address = f"/api/batches/{batch_id}/rate?per_minute=600"
        assert site.request("POST", address).json["perMinute"] == 600
        expect(field(page, "limit")).to_have_text("At most 600 a minute")
        expect(page.locator("#per-minute")).to_have_value("7")
        page.keyboard.press("Enter")
        expect(field(page, "limit")).to_have_text("At most 7 a minute")
        is_live(page)
        site.request("POST", f"/api/batches/{batch_id}/cancel")
        expect(page.locator(".limit")).to_be_hidden()

    def test_a_batch_that_its_processor_stopped_says_why_and_goes_on(
        self, open_page, site, start_own
    ):
        batch_id = store(*ADDRESSES).batch_id
        page, plain = open_page(), open_page(java_script_enabled=False)
        page.goto(f"{site.url}/batches/{batch_id}")
        is_live(page)
        start_own("blocked").await_line("stopped by the processor")
        plain.goto(page.url)
        said = "Paused: <b>Wrong</b> password. Anybody can resume it. 2 of 10 checked."
        for each in (page, plain):
            expect(each.locator(".paused")).to_have_text(said)
        history = "Paused by the processor: <b>Wrong</b> password, "
        expect(plain.locator("#history li")).to_contain_text(history)
        with page.expect_navigation():
            page.get_by_role("button", name="Resume").click()
        # It stops once more, before the page that the click leads to is made, or after it. The
        # history of a page that is open stays as it was, so that nothing moves.
        eventually(lambda: query("SELECT count(*) FROM action") == [(3,)])
        page.reload()
        expect(page.locator("#history li")).to_have_count(3)

    def test_a_batch_that_begins_later_says_when_in_the_readers_time(self, open_page, site):
        fields = {"start_at": "2199-12-24T08:00:00Z"}
        batch_id = site.upload(b"a@x.de\n", **fields).json["batchId"]
        page = open_page(timezone_id="Europe/Paris")
        page.goto(f"{site.url}/batches/{batch_id}")
        said = "Paused until 24 Dec 2199, 09:00 CET. 0 of 1 checked."
        expect(page.locator(".paused")).to_have_text(said)

    def test_emails_that_wait_are_finished(self, page, site):
        batch_id = wait_for("a@x.de", "b@x.de", "c@x.de")
        page.goto(f"{site.url}/batches/{batch_id}")
        is_live(page)
        page.get_by_role("button", name="Finish now").click()
        await_completed(page)
        expect(page.locator(".verdicts")).to_contain_text("3 unknown (100%)")
        expect(page.get_by_role("button", name="Finish now")).to_be_hidden()

    def test_a_worker_is_stopped_and_another_started_on_the_way(self, page, site, processes, slow):
        batch_id = site.upload(list_of(4000)).json["batchId"]
        page.goto(f"{site.url}/batches/{batch_id}")
        processed = field(page, "processed")
        worker = processes("worker.py", **slow)
        expect(processed).to_have_text(re.compile(r"^[1-9][\d,]*$"))
        worker.stop()
        expect(page.locator("#notice")).to_contain_text("No worker is running")
        expect(field(page, "rate")).to_have_text("0/s")
        expect(field(page, "left")).to_be_hidden()
        stands = processed.inner_text()
        assert query("SELECT processed_count FROM batch") == [(int(stands.replace(",", "")),)]
        processes("worker.py")
        await_completed(page)
        expect(page.locator("#notice")).to_be_hidden()

    def test_a_cancelled_and_a_deleted_batch_show_as_that_everywhere(self, open_page, site):
        batch_id = store("a@x.de").batch_id
        home = open_page()
        home.goto(site.url)
        page = open_page(home.context)
        page.goto(f"{site.url}/batches/{batch_id}")
        page.get_by_role("button", name="Cancel…").click()
        with page.expect_navigation():
            page.get_by_role("button", name="Cancel batch").click()
        expect(field(page, "status")).to_have_text("cancelled")
        verdict = field(page, "verdict", "#rows tbody")
        expect(verdict).to_have_text("not checked")
        page.reload()
        expect(verdict).to_have_text("not checked")
        row = home.locator("#batches tbody tr")
        expect(row).to_contain_text("cancelled")
        assert site.request("DELETE", f"/api/batches/{batch_id}").status == 204
        expect(row).to_have_count(0)
        expect(home.locator("#no-batches")).to_be_visible()
        expect(page.locator("#message")).to_have_text("This batch has been deleted.")
        expect(page.get_by_role("link", name="Download results")).to_be_hidden()

    def test_a_question_goes_when_its_batch_ends(self, page, site, processes):
        page.goto(f"{site.url}/batches/{store('a@x.de').batch_id}")
        page.get_by_role("button", name="Cancel…").click()
        expect(page.get_by_role("dialog")).to_be_visible()
        processes("worker.py")
        await_completed(page)
        expect(page.get_by_text("No email has a reason.")).to_be_visible()
        expect(page.locator("dialog[open]")).to_have_count(0)
        page.get_by_label("Other downloads").click()
        expect(page.get_by_label("Download all as CSV")).to_be_visible()

    @pytest.mark.parametrize("scripts", [True, False])
    def test_interrupted_emails_are_only_done_again_after_a_question(
        self, open_page, site, scripts
    ):
        page = open_page(java_script_enabled=scripts)
        page.goto(
            f"{site.url}/batches/{completed([(n, 'processed', 'interrupted') for n in (2, 3)])}"
        )
        expect(page.get_by_text("Check again")).to_be_hidden()
        page.get_by_role("button", name="Repeat what may have been done…").click()
        question = page.get_by_role("dialog", name="Do it again?")
        expect(question).to_contain_text(
            "The work for 2 emails may have been done; nobody can tell."
        )
        leave = question.get_by_role("button", name="Leave it")
        expect(leave).to_be_focused()
        leave.click()
        expect(question).to_be_hidden()
        expect(page.get_by_role("button", name="Repeat what may have been done…")).to_be_focused()
        assert query("SELECT count(*) FROM email WHERE reason = 'interrupted'") == [(2,)]
        page.get_by_role("button", name="Repeat what may have been done…").click()
        question.get_by_role("button", name="Do it again").click()
        expect(page.locator("#message")).to_have_text("2 emails are checked again.")
        expect(page.get_by_role("button", name="Repeat what may have been done…")).to_be_hidden()
        assert query("SELECT which, emails FROM action") == [("interrupted", 2)]

    def test_a_person_is_notified_who_wants_to_be(self, open_page, site, processes):
        page = open_page(permissions=["notifications"])
        # The system's notification centre is outside; what it would show is noted.
        page.add_init_script(
            """
            window.told = [];
            window.Notification = class extends EventTarget {
                static permission = "granted";
                static requestPermission = async () => "granted";
                constructor(title, { body }) {
                    super();
                    window.told.push([title, body]);
                }
            };
            """
        )
        batch_id = store("a@x.de", "b").batch_id
        page.goto(f"{site.url}/batches/{batch_id}")
        page.get_by_role("button", name="Notify me").click()
        expect(page.get_by_role("button", name="Will notify")).to_be_disabled()
        page.reload()
        expect(page.get_by_role("button", name="Will notify")).to_be_disabled()
        processes("worker.py")
        await_completed(page)
        eventually(lambda: page.evaluate("window.told.length"))
        assert page.evaluate("window.told") == [["list.csv: completed", "1 ok · 1 invalid"]]
