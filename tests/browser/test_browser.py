"""The pages in headless Chromium, over both real processes: what people do, and what they see."""

import re

import pytest
from playwright.sync_api import expect

from harness.batches import completed, store
from harness.books import query
from harness.browsing import (
    REFUSED,
    WATCH_SHIFTS,
    assert_nothing_moved,
    await_completed,
    await_worker,
    choose,
    field,
    is_live,
    list_of,
    upload,
)
from harness.files import csv_of
from harness.polling import eventually
from harness.site import Site


@pytest.fixture
def site(processes) -> Site:
    return processes("app.py").site()


class TestUpload:
    def test_from_the_file_to_the_last_retry_by_mouse(self, page, site, processes):
        processes("worker.py").await_line("worker started")
        upload(page, site, list_of(5000) + b"user1@example.com\n\nanna@gmial.com\n")
        await_completed(page)
        expect(page.get_by_role("heading", level=1)).to_have_text("people.csv")
        expect(page.locator(".fraction")).to_have_text("5,001 / 5,001")
        expect(field(page, "percent")).to_have_text("100%")
        expect(page.locator("#bar")).to_have_attribute("aria-valuenow", "100")
        expect(page.locator(".accounting")).to_have_text(
            re.compile(r"5,003 rows =\s+5,001 checked\s+\+ 1 duplicate\s.*1 blank", re.DOTALL)
        )
        expect(page.locator("[data-verdict=invalid]")).to_have_text("250")
        expect(page.locator("#typos")).to_contain_text("gmial.com × 1 → gmail.com")
        page.get_by_role("link", name="There is no @-sign.").click()
        rows = page.locator("#rows tbody tr")
        expect(rows).to_have_count(50)
        expect(rows.first).to_contain_text("bad0")
        page.get_by_role("link", name="Show more").click()
        expect(rows).to_have_count(100)
        page.get_by_role("link", name="1 duplicate").click()
        expect(rows).to_have_count(1)
        expect(rows).to_contain_text("First on line 3.")
        page.get_by_label("Address contains").fill("@GMIAL")
        page.get_by_role("button", name="Search").click()
        expect(rows).to_contain_text("Meant: anna@gmail.com")
        page.go_back()
        expect(rows).to_contain_text("First on line 3.")
        with page.expect_download() as download:
            page.get_by_role("link", name="Download failed").click()
        assert download.value.suggested_filename == "people.failed.csv"
        assert len(download.value.path().read_text().splitlines()) == 251
        page.get_by_role("button", name="Retry failed (250)").click()
        expect(page.locator("#message")).to_have_text(
            re.compile("^250 emails (are|were) processed again")
        )
        await_completed(page)
        page.get_by_role("button", name="Delete…").click()
        expect(page.get_by_role("dialog")).to_contain_text("That can’t be undone.")
        page.get_by_role("button", name="Delete", exact=True).click()
        expect(page.locator(".message")).to_have_text("Batch 1 has been deleted.")
        expect(page.locator("#no-batches")).to_be_visible()

    def test_the_preview_shows_what_was_detected_and_each_guess_can_be_changed(self, page, site):
        page.goto(site.url)
        choose(page, "Nr;Müller;Kontakt\n1;Jörg;a@x.de\n2;b@x.de;c@x.de\n".encode("cp1252"))
        expect(page.locator("#detected")).to_contain_text(
            "Read as CSV, cp1252, semicolon. The addresses are in column 3 (2 in the first rows)."
        )
        head = page.locator("#preview thead")
        expect(head.locator(".chosen")).to_have_text("Kontakt addresses")
        expect(page.locator("#preview tbody tr")).to_have_count(2)
        page.locator("#preview [name=header]").select_option("is data")
        expect(page.locator("#preview tbody tr")).to_have_count(3)
        page.get_by_label("Address column").select_option("2")
        expect(head.locator(".chosen")).to_have_text("Column 2 addresses")
        page.get_by_label("Encoding").select_option("cp1251")
        expect(page.locator("#preview tbody")).to_contain_text("Jцrg")
        page.get_by_role("button", name="Detect again").click()
        expect(head.locator(".chosen")).to_have_text("Kontakt addresses")
        expect(page.locator("#preview tbody")).to_contain_text("Jörg")
        page.locator("#preview [name=header]").select_option("is data")
        expect(page.locator("#preview tbody tr")).to_have_count(3)
        page.get_by_role("button", name="Upload & process").click()
        page.wait_for_url("**/batches/1")
        assert query("SELECT total_rows, total_emails FROM batch") == [(3, 3)]

    def test_a_file_can_be_dropped_anywhere(self, page, site):
        page.goto(site.url)
        event = page.evaluate_handle(
            """() => {
                const transfer = new DataTransfer();
                transfer.items.add(new File(["a@x.de\\nb@x.de\\n"], "dropped.csv"));
                return transfer;
            }"""
        )
        page.dispatch_event("#recent", "dragenter", {"dataTransfer": event})
        expect(page.locator("#dropzone")).to_be_visible()
        page.dispatch_event("#recent", "drop", {"dataTransfer": event})
        expect(page.locator("#dropzone")).to_be_hidden()
        expect(page.locator("#chosen")).to_contain_text("dropped.csv")
        expect(page.locator("#preview tbody tr")).to_have_count(2)

    def test_addresses_can_be_pasted(self, page, site):
        page.goto(site.url)
        page.get_by_text("or paste addresses").click()
        page.get_by_label("Addresses, one a line").fill("a@x.de, b@x.de; c@x.de")
        expect(page.locator("#preview tbody tr")).to_have_count(3)
        page.get_by_role("button", name="Upload & process").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Pasted addresses.txt")
        expect(page.locator(".fraction")).to_have_text("0 / 3")

    def test_what_is_wrong_with_a_file_is_said_at_the_file(self, open_page, site):
        page = open_page(allowed=REFUSED)
        page.goto(site.url)
        page.get_by_role("button", name="Upload & process").click()
        error = page.locator("#upload-error")
        expect(error).to_have_text("Choose a file, or paste addresses, first.")
        choose(page, b'a@x.de\n"' + b"b" * 200_000)
        expect(error).to_contain_text("Line 2: this can't be read as CSV")
        page.get_by_role("button", name="Upload & process").click()
        expect(error).to_contain_text("Line 2: this can't be read as CSV")
        choose(page, b"a@x.de\n")
        expect(error).to_be_hidden()
        expect(page.locator("#preview tbody tr")).to_have_count(1)

    def test_an_upload_says_how_fast_it_is_and_can_be_cancelled(self, page, site):
        page.goto(site.url)
        choose(page, csv_of(*(f"user{n}@example.com" for n in range(100_000))))
        expect(page.locator("#preview")).to_be_visible()
        network = page.context.new_cdp_session(page)
        network.send(
            "Network.emulateNetworkConditions",
            {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 2e5},
        )
        page.get_by_role("button", name="Upload & process").click()
        state = page.locator("#upload-state")
        expect(state).to_have_text(
            re.compile(r"^[\d.]+ [KM]B of 2\.\d MB, [\d.]+ [KM]B/s, \d+:\d\d left$")
        )
        page.get_by_role("button", name="Cancel").click()
        expect(state).to_have_text("Cancelled. Nothing was stored.")
        expect(page.get_by_role("button", name="Upload & process")).to_be_enabled()
        assert query("SELECT * FROM batch") == []

    def test_an_upload_can_be_cancelled_while_it_is_being_stored(self, page, processes, elsewhere):
        app = processes("app.py")
        page.goto(app.site().url)
        choose(page, list_of(10_000))
        expect(page.locator("#preview")).to_be_visible()
        elsewhere.execute("BEGIN; LOCK TABLE email IN SHARE MODE")  # so that storing takes its time
        page.get_by_role("button", name="Upload & process").click()
        state = page.locator("#upload-state")
        expect(state).to_contain_text("being stored")
        page.get_by_role("button", name="Cancel").click()
        expect(state).to_have_text("Cancelled. If the batch was stored by then, it shows below.")
        elsewhere.execute("COMMIT")
        app.await_line("Client disconnected while serving /api/upload")
        assert query("SELECT * FROM batch") == query("SELECT * FROM email") == []


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
        upload(page, site, list_of(9000))
        is_live(page)
        expect(field(page, "rate")).to_have_text(re.compile(r"^[1-9][\d,]*/s$"))
        expect(field(page, "left")).to_have_text(re.compile(r"^\d+:\d\d$"))
        expect(page).to_have_title(re.compile(r"^\d+% · people\.csv"))
        expect(page.locator("link[rel=icon]")).to_have_attribute(
            "href", re.compile(r"/progress/[1-9]\d*\.svg$")
        )
        expect(page.locator("#chart")).not_to_have_attribute("data-empty", "")
        await_completed(page)
        expect(page).to_have_title(re.compile(r"^completed · people\.csv"))
        seen = page.evaluate("window.seen")
        assert len(set(seen)) > 3
        assert seen == sorted(seen)
        assert seen[-1] == 9000
        assert_nothing_moved(page)

    @pytest.mark.parametrize("width", [360, 1440])
    def test_reasons_that_come_move_no_row(self, open_page, site, processes, width):
        page = open_page(viewport={"width": width, "height": 900})
        batch_id = store("info@x.de", "a@mailinator.com", "b", "@x.de", "c@", "d@x").batch_id
        page.goto(f"{site.url}/batches/{batch_id}")

        def distance():
            return page.evaluate("emails.offsetTop - outcomes.offsetTop")

        before = distance()
        processes("worker.py")
        await_completed(page)
        expect(page.locator("#reasons li:not([hidden])")).to_have_count(6)
        assert distance() == before

    def test_a_retry_goes_back_and_says_so_in_all_tabs(self, page, site, processes):
        batch_id = completed()
        with page.expect_response(
            f"**/api/batches/{batch_id}"
        ):  # which it asks for once it is live
            page.goto(f"{site.url}/batches/{batch_id}")
        answer = site.request("POST", f"/api/batches/{batch_id}/retry?which=failed")
        assert answer.json["requeued"] == 3
        expect(page.locator("#message")).to_have_text("3 emails are processed again.")
        expect(page.locator(".fraction")).to_have_text("7 / 10")
        expect(field(page, "status")).to_have_text("pending")
        processes("worker.py")
        await_completed(page)
        expect(page.locator("#message")).to_have_text("3 emails were processed again.")

    def test_a_batch_that_waits_says_why(self, page, site, processes):
        store("a@x.de")
        batch_id = store("a@x.de").batch_id
        page.goto(f"{site.url}/batches/{batch_id}")
        expect(page.locator("#waiting")).to_contain_text("Unfinished batches in all: 2.")
        expect(page.locator("#notice")).to_contain_text("python worker.py --threads 4")
        worker = processes("worker.py")
        await_completed(page)
        expect(page.locator("#waiting")).to_be_hidden()
        expect(page.locator("#notice")).to_be_hidden()
        worker.stop()
        # Nothing waits for a worker, so that nothing is wrong but that there is none.
        expect(field(page, "workers", "#health")).to_have_text("no worker")

    def test_a_worker_is_stopped_and_another_started_on_the_way(self, page, site, processes, slow):
        batch_id = site.upload(list_of(4000)).json["batchId"]
        page.goto(f"{site.url}/batches/{batch_id}")
        processed = field(page, "processed")
        worker = processes("worker.py", **slow)
        expect(processed).to_have_text(re.compile(r"^[1-9][\d,]*$"))
        worker.stop()
        expect(page.locator("#notice")).to_contain_text("No worker is running")
        expect(field(page, "rate")).to_have_text("0/s")
        expect(field(page, "left")).to_have_text("–")
        stands = processed.inner_text()
        assert query("SELECT processed_count FROM batch") == [(int(stands.replace(",", "")),)]
        processes("worker.py", **slow)
        await_completed(page)
        expect(page.locator("#notice")).to_be_hidden()

    def test_a_cancelled_and_a_deleted_batch_show_as_that_everywhere(self, open_page, site):
        batch_id = store("a@x.de").batch_id
        home = open_page()
        home.goto(site.url)
        page = open_page(home.context)
        page.goto(f"{site.url}/batches/{batch_id}")
        page.get_by_role("button", name="Cancel…").click()
        page.get_by_role("button", name="Cancel", exact=True).click()
        expect(field(page, "status")).to_have_text("cancelled")
        row = home.locator("#batches tbody tr")
        expect(row).to_contain_text("cancelled")
        assert site.request("DELETE", f"/api/batches/{batch_id}").status == 204
        expect(row).to_have_count(0)
        expect(home.locator("#no-batches")).to_be_visible()
        expect(page.locator("#message")).to_have_text("This batch has been deleted.")

    def test_a_person_is_notified_who_wants_to_be(self, open_page, site, processes):
        page = open_page(permissions=["notifications"])
        # The system's notification centre is outside; what it would show is noted.
        page.add_init_script(
            """
            window.told = [];
            window.Notification = class extends EventTarget {
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
        page.get_by_role("button", name="Notify me when done").click()
        expect(page.get_by_role("button", name="You will be notified")).to_be_disabled()
        processes("worker.py")
        await_completed(page)
        eventually(lambda: page.evaluate("window.told.length"))
        assert page.evaluate("window.told") == [["list.csv: completed", "2 of 2 emails, 1 failed."]]

    def test_rows_of_a_rare_kind_are_found_among_many(self, page, site):
        addresses = [f"user{n}@example.com" for n in range(120_000)]
        batch_id = site.upload(csv_of(*addresses)).json["batchId"]
        page.goto(f"{site.url}/batches/{batch_id}")
        page.get_by_label("Address contains").fill("user119999@")
        page.get_by_role("button", name="Search").click()
        rows = page.locator("#rows tbody tr")
        expect(rows).to_have_count(1)
        expect(rows).to_contain_text("120,000")
        page.get_by_role("link", name="Show all").click()
        expect(rows).to_have_count(50)


class TestHome:
    def test_the_batches_are_live(self, page, site, processes, slow):
        page.goto(site.url)
        is_live(page, "#recent")
        batch_id = site.upload(list_of(2000), filename="late.csv").json["batchId"]
        row = page.locator(f'#batches tr[data-batch="{batch_id}"]')
        expect(row).to_contain_text("late.csv")
        expect(row).to_contain_text("pending")
        processes("worker.py", **slow)
        expect(row.locator("[data-field=rate]")).to_have_text(re.compile(r"^[1-9][\d,]*/s$"))
        expect(row.locator("[data-field=left]")).to_have_text(re.compile(r"^\d+:\d\d$"))
        expect(row).to_contain_text("completed", timeout=40_000)
        expect(row).to_contain_text("100%")
        site.upload(list_of(2000), filename="later.csv")
        row = page.locator(f'#batches tr[data-batch="{batch_id + 1}"]')
        expect(row.locator("rect").first).not_to_have_attribute("width", "0")

    @pytest.mark.parametrize("width", [360, 1440])
    def test_nothing_moves_while_its_numbers_run(self, open_page, site, processes, slow, width):
        processes("worker.py", **slow)
        page = open_page(viewport={"width": width, "height": 1200})
        await_worker(page, site)
        page.add_init_script(WATCH_SHIFTS)
        for name in ("first.csv", "second.csv"):
            site.upload(list_of(1500), filename=name)
        page.goto(site.url)
        rows = page.locator("#batches tbody tr")
        expect(rows.first.locator("[data-field=rate]")).to_have_text(re.compile(r"^[1-9]"))
        for row in (rows.first, rows.last):
            expect(row).to_contain_text("completed", timeout=40_000)
        assert_nothing_moved(page)

    def test_batches_are_found_by_name_and_status(self, page, site):
        for name in ("spring 100%.csv", "autumn.csv", "Spring.csv"):
            site.upload(csv_of("a@x.de"), filename=name)
        site.request("POST", "/api/batches/3/cancel")
        page.goto(site.url)
        rows = page.locator("#batches tbody tr")
        expect(rows).to_have_count(3)
        page.get_by_label("File name contains").fill("spring")
        expect(rows).to_have_count(2)
        page.get_by_label("Status", exact=True).select_option("cancelled")
        expect(rows).to_have_count(1)
        expect(rows).to_contain_text("Spring.csv")
        page.get_by_label("File name contains").fill("nothing like it")
        expect(page.locator("#no-batches")).to_contain_text("No matching batches.")
        page.reload()
        expect(page.get_by_label("File name contains")).to_have_value("nothing like it")
        page.get_by_role("link", name="Show all").click()
        expect(rows).to_have_count(3)

    def test_older_batches_come_by_asking_and_then_by_scrolling(self, page, site):
        for _ in range(50):
            store("a@x.de")
        page.goto(site.url)
        rows = page.locator("#batches tbody tr")
        expect(rows).to_have_count(20)
        is_live(page, "#recent")
        page.get_by_role("link", name="Show older batches").click()
        expect(rows).to_have_count(40)
        page.mouse.wheel(0, 20_000)
        expect(rows).to_have_count(50)
        expect(page.locator("#more")).to_be_hidden()
        page.get_by_role("button", name="Refresh").click()
        site.upload(csv_of("b@x.de"))
        expect(rows).to_have_count(51)

    def test_names_and_addresses_full_of_markup_stay_text(self, page, site, processes):
        name = "<img src=x onerror=alert(1)>.csv"
        page.goto(site.url)
        choose(page, b"email\n<b>a</b>@x.de\n", name)
        expect(page.locator("#preview tbody")).to_contain_text("<b>a</b>@x.de")
        site.upload(b"email\n<b>a</b>@x.de\n", filename=name)
        page.get_by_role("link", name=name).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(name)
        processes("worker.py")
        await_completed(page)
        page.get_by_role("link", name="invalid").click()
        expect(page.locator("#rows tbody")).to_contain_text("<b>a</b>@x.de")
        assert page.locator("main img, main tbody b").count() == 0
