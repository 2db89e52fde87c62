"""The form that uploads a file, in Chromium: the preview, what is wrong with a file, cancelling."""

import re
from datetime import UTC, datetime

import pytest
from playwright.sync_api import expect

from harness.books import query
from harness.browsing import REFUSED, await_completed, choose, choose_all, field, list_of, upload
from harness.files import csv_of, workbook
from harness.polling import eventually
from harness.processors import write_check_of_staff

CHANGE = "Change how the file is read"


class TestUpload:
    def test_from_the_file_to_the_last_retry_by_mouse(self, page, site, processes, tmp_path):
        processor = write_check_of_staff(tmp_path)
        processes("worker.py", worker__processor=processor).await_line("worker started")
        rest = b"user1@example.com\n\nanna@gmial.com\nann@gone.example.com\n"
        upload(page, site, list_of(5000) + rest)
        await_completed(page)
        expect(page.get_by_role("heading", level=1)).to_have_text("people.csv")
        expect(page.locator("#bar")).to_have_attribute("aria-valuenow", "100")
        expect(page.locator(".facts")).to_contain_text(
            re.compile(r"5,004 rows =\s+5,002 emails\s+\+ 1 duplicate\s.*1 blank", re.DOTALL)
        )
        expect(page.locator("[data-verdict=invalid]")).to_have_text("251")
        expect(page.locator("#typos")).to_contain_text("gmial.com × 1 → gmail.com")
        page.get_by_role("link", name="There is no @-sign.").click()
        rows = page.locator("#rows tbody tr")
        expect(rows).to_have_count(50)
        expect(rows.first).to_contain_text("bad0")
        page.get_by_role("link", name="Show more").click()
        expect(rows).to_have_count(100)
        expect(field(page, "of", "#emails")).to_have_text("100 of 250")
        page.get_by_role("link", name="1 duplicate").click()
        expect(rows).to_have_count(1)
        expect(rows).to_contain_text("First on line 3.")
        page.get_by_label("Address contains").fill("@GMIAL")
        page.get_by_role("button", name="Search").click()
        expect(rows).to_contain_text("Did you mean anna@gmail.com?")
        page.go_back()
        expect(rows).to_contain_text("First on line 3.")
        with page.expect_download() as download:
            page.get_by_label("Other downloads").click()
            page.get_by_role("link", name="Download invalid as CSV").click()
        assert download.value.suggested_filename == "people.invalid.csv"
        assert len(download.value.path().read_text().splitlines()) == 252
        page.get_by_text("Check again").click()
        page.get_by_role("button", name="251 invalid").click()
        expect(page.locator("#message")).to_have_text(
            re.compile("^251 emails (are|were) checked again")
        )
        await_completed(page)
        page.get_by_role("button", name="Delete…").click()
        expect(page.get_by_role("dialog")).to_contain_text("That can’t be undone.")
        page.get_by_role("button", name="Delete batch").click()
        expect(page.locator("main > .message")).to_have_text("Batch 1 has been deleted.")
        expect(page.locator("#no-batches")).to_be_visible()

    def test_the_preview_shows_what_was_detected_and_each_guess_can_be_changed(self, page, site):
        page.goto(site.url)
        choose(page, "Nr;Müller;Kontakt\n1;Jörg;a@x.de\n2;b@x.de;c@x.de\n".encode("cp1252"))
        expect(page.locator("#headline")).to_have_text("2 rows; addresses in Kontakt")
        expect(page.locator("#headline strong")).to_have_text("Kontakt")
        expect(page.locator("#detected")).to_contain_text(
            "Read as CSV, cp1252, semicolon; addresses in column 3, “Kontakt”,"
            " because it has the most addresses. 2 rows: 2 emails."
        )
        head = page.locator("#preview thead")  # the choices are open: a row has a second address
        expect(head.locator(".chosen")).to_have_text("Kontakt addresses")
        expect(page.locator("#preview tbody tr")).to_have_count(2)
        page.locator("#preview select[name=header]").select_option("none")
        expect(page.locator("#preview tbody tr")).to_have_count(3)
        page.get_by_label("Address column").select_option("2")
        expect(head.locator(".chosen")).to_have_text("Column 2 addresses")
        expect(page.locator("#headline")).to_have_text("3 rows; addresses in column 2")
        page.get_by_label("Encoding").select_option("cp1251")
        expect(page.locator("#preview tbody")).to_contain_text("Jцrg")
        page.get_by_role("button", name="Detect again").click()
        expect(head.locator(".chosen")).to_have_text("Kontakt addresses")
        expect(page.locator("#preview tbody")).to_contain_text("Jörg")
        page.locator("#preview select[name=header]").select_option("none")
        expect(page.locator("#preview tbody tr")).to_have_count(3)
        page.get_by_role("button", name="Upload & process").click()
        page.wait_for_url("**/batches/1")
        assert query("SELECT total_rows, total_emails FROM batch") == [(3, 3)]

    def test_a_header_below_others_is_chosen_by_its_line(self, page, site):
        page.goto(site.url)
        choose(page, csv_of("People,Contacts", "given,reach", "Ann,a@x.de", "Bob,b@x.de"))
        head = page.locator("#preview thead .chosen")
        expect(head).to_have_text("Contacts addresses")
        page.get_by_role("button", name="Make line 2 the header").press("Enter")
        expect(head).to_have_text("reach addresses")
        expect(page.locator("#preview select[name=header]:focus")).to_have_value("2")
        expect(page.locator("#preview tbody .above")).to_have_text(re.compile("PeopleContacts"))
        page.get_by_role("button", name="Upload & process").click()
        page.wait_for_url("**/batches/1")
        expect(page.locator("#status")).to_contain_text("addresses in column 2, “reach”.")

    def test_another_sheet_and_another_column_can_be_chosen(self, page, site):
        content = workbook(
            {
                "Read me": [["Hello"]],
                "Members": [
                    ["mail", "private"],
                    ["a@x.de; b@x.de", "a@y.de"],
                    ["c@x.de", "c@y.de"],
                    ["d@x.de", ""],
                ],
            }
        )
        page.goto(site.url)
        choose(page, content, "members.dat")
        detected = page.locator("#detected")
        expect(page.locator("#headline")).to_have_text(
            "3 rows; addresses in mail, several in some cells"
        )
        expect(detected).to_contain_text("XLSX workbook, sheet “Members”; addresses in column 1")
        expect(detected).to_contain_text("3 rows and 1 further address: 4 emails.")
        expect(page.locator("#preview thead .badge")).to_have_text("addresses")
        expect(page.locator("#others")).to_contain_text(
            "2 rows have further addresses in other columns."
        )
        page.get_by_role("button", name="Take column 2, “private”, instead").click()
        expect(detected).to_contain_text("3 rows: 2 emails, 1 row without an address.")
        page.get_by_label("Sheet").select_option(label="Read me (1 row, 0 addresses)")
        expect(page.locator("#headline")).to_have_text("No address found")
        expect(page.locator("#preview-problem")).to_contain_text("in the sheet 'Read me'")
        expect(page.locator("#preview thead .badge")).to_have_count(0)
        expect(page.get_by_role("button", name="Upload & process")).to_be_disabled()
        page.get_by_role("button", name="Detect again").click()
        page.get_by_label("Several addresses in a cell").select_option("stay together")
        expect(detected).to_contain_text("3 rows: 3 emails.")
        page.get_by_role("button", name="Upload & process").click()
        page.wait_for_url("**/batches/1")
        with page.expect_download() as download:
            page.get_by_role("link", name="Download results").click()
        assert download.value.suggested_filename == "members.results.partial.xlsx"

    def test_the_encoding_is_chosen_by_what_it_makes_of_the_names(self, page, site):
        page.goto(site.url)
        choose(page, "Имя;Почта\nИван;a@x.de\n".encode("cp1251"))
        encodings = page.locator("#encodings li")
        expect(encodings.first).to_have_text("cp1251 Имя · Почта · Иван")
        page.get_by_role("button", name="mac-cyrillic").press("Enter")
        expect(page.locator("#detected")).to_contain_text("CSV, mac-cyrillic, semicolon")
        chosen = page.locator("#encodings [aria-pressed=true]")
        expect(chosen).to_have_text("mac-cyrillic")
        expect(chosen).to_be_focused()
        page.get_by_role("button", name="cp1251").click()
        expect(chosen).to_have_text("cp1251")
        expect(page.locator("#preview tbody")).to_contain_text("Иван")

    @pytest.mark.parametrize(
        ("content", "is_open"),
        [
            (b"name,mail\nAnn,a@x.de\n", False),
            (b"name,mail,private\nAnn,a@x.de,a@y.de\n", True),
            ("Имя;Почта\nИван;a@x.de\n".encode("cp1251"), True),
            (b"name\nAnn\n", True),
            (workbook({"A": [["a@x.de"], ["b@x.de"]], "B": [["c@x.de"]]}), True),
            (workbook({"A": [["a@x.de"], ["b@x.de"]], "B": [["Hello"]]}), False),
        ],
    )
    def test_the_choices_are_open_if_there_is_one_to_make(self, page, site, content, is_open):
        page.goto(site.url)
        choose(page, content)
        expect(page.locator("#preview")).to_be_visible()
        assert page.evaluate("change.open") == is_open

    def test_a_file_with_too_many_rows_is_warned_of_and_may_be_tried(self, page, serve):
        page.goto(serve(upload__max_rows=60_000).url)
        choose(page, csv_of(*(f"u{n:05}@x.de" for n in range(90_000))))
        expect(page.locator("#preview-problem")).to_contain_text(
            "About 90,000 rows; at most 60,000 are taken."
        )
        expect(page.get_by_role("button", name="Upload & process")).to_be_enabled()
        choose(page, b"a@x.de\n")
        expect(page.locator("#headline")).to_have_text("1 address")
        expect(page.locator("#preview-problem")).to_be_hidden()

    def test_the_button_comes_with_the_preview(self, page, site):
        page.goto(site.url)
        button = page.get_by_role("button", name="Upload & process")
        expect(page.locator("#upload")).to_have_attribute("data-live", "")
        expect(button).to_be_hidden()
        held = []
        page.route("**/api/preview", lambda route: held.append(route))
        choose(page, b"a@x.de\n")
        expect(page.locator("#upload-state")).to_have_text("Reading the file…")
        expect(button).to_be_hidden()
        eventually(lambda: page.wait_for_timeout(1) or held)
        held[0].continue_()
        expect(button).to_be_enabled()
        expect(page.locator("#upload-state")).to_be_empty()
        expect(page.locator("#headline")).to_have_text("1 address")

    def test_a_sample_list_is_there_for_the_first_try(self, page, site):
        page.goto(site.url)
        expect(page.locator("#upload-heading + p")).to_contain_text("Nothing is sent to anybody.")
        page.get_by_role("link", name="Try it with a sample list").click()
        expect(page.locator("#chosen")).to_contain_text("Sample list.csv")
        expect(page.locator("#headline")).to_have_text(
            "33 rows; addresses in Email, several in some cells, 2 rows without, 1 duplicate,"
            " 1 blank row"
        )
        page.get_by_role("button", name="Upload & process").click()
        page.wait_for_url("**/batches/1")
        page.goto(site.url)
        expect(page.locator("#batches tbody tr")).to_have_count(1)
        expect(page.locator("#sample")).to_have_count(0)

    def test_texts_from_right_to_left_are_shown_so(self, page, site):
        page.goto(site.url)
        choose(page, "שם,דואל\nדנה (1),a@x.de\n".encode(), "רשימה.csv")
        cell = page.locator("#preview tbody td").first
        expect(cell).to_have_text("דנה (1)")
        assert cell.evaluate("each => getComputedStyle(each).direction") == "rtl"
        expect(page.locator("#chosen bdi")).to_have_text("רשימה.csv")

    def test_each_of_several_files_becomes_a_batch(self, open_page, site):
        page = open_page(allowed=REFUSED)
        page.goto(site.url)
        one, none, three = b"a@x.de\n", b"name\nAnn\n", b"b@x.de\nc@x.de\n"
        choose_all(page, {"one.csv": one, "none.csv": none, "three.csv": three})
        expect(page.locator("#chosen")).to_have_text("3 files: each becomes a batch of its own")
        expect(page.locator("#files li")).to_have_text(
            ["one.csv (7 bytes)", "none.csv (9 bytes)", "three.csv (14 bytes)"]
        )
        expect(page.locator("#preview")).to_be_hidden()
        page.evaluate(
            """() => {
                const state = document.querySelector("#upload-state");
                window.said = [];
                new MutationObserver(() => window.said.push(state.textContent))
                    .observe(state, { childList: true });
            }"""
        )
        page.get_by_role("button", name="Upload & process 3 files").click()
        expect(page.locator("#upload-error")).to_have_text(
            re.compile(r"^\u2068none\.csv\u2069: No email address was found in the file\.")
        )
        expect(page.locator("#upload-state")).to_have_text(
            "2 files uploaded. The batches are in the list below."
        )
        rows = page.locator("#batches tbody .file")
        expect(rows).to_have_text(["three.csv", "one.csv"])
        said = page.evaluate("window.said")
        begun = [n for n in (1, 2, 3) if any(each.startswith(f"{n} of 3 · ") for each in said)]
        assert begun == [1, 2, 3]
        assert query("SELECT filename, total_emails FROM batch ORDER BY id") == [
            ("one.csv", 1),
            ("three.csv", 2),
        ]
        choose(page, b"d@x.de\n")  # the form is ready for the next
        expect(page.locator("#files")).to_be_hidden()
        page.get_by_role("button", name="Upload & process", exact=True).click()
        page.wait_for_url("**/batches/*")

    def test_the_files_that_are_left_can_be_sent_after_a_cancel(self, page, site, elsewhere):
        page.goto(site.url)
        choose_all(page, {f"{n}.csv": list_of(10_000) for n in range(1, 4)})
        elsewhere.execute("BEGIN; LOCK TABLE email IN SHARE MODE")  # so that storing takes its time
        page.get_by_role("button", name="Upload & process 3 files").click()
        state = page.locator("#upload-state")
        expect(state).to_have_text("1 of 3 · Sent; the rows are being stored…")
        page.get_by_role("button", name="Cancel").click()
        expect(state).to_have_text("Cancelled. If the batch was stored by then, it shows below.")
        elsewhere.execute("COMMIT")
        expect(page.locator("#files li")).to_have_count(3)
        expect(page.get_by_role("button", name="Upload & process 3 files")).to_be_enabled()

    @pytest.mark.parametrize("scripts", [True, False])
    def test_a_batch_begins_paused_and_with_a_rate(self, open_page, site, scripts):
        page = open_page(java_script_enabled=scripts)
        page.goto(site.url)
        choose(page, b"a@x.de\n")
        page.get_by_text("When and how fast").click()
        page.get_by_label("Emails a minute, at most").fill("600")
        page.get_by_label("Begin").select_option("paused")
        page.get_by_role("button", name="Upload & process").click()
        expect(page.locator(".paused")).to_have_text("Paused. 0 of 1 checked.")
        expect(field(page, "limit")).to_have_text("At most 600 a minute")

    def test_batches_begin_at_a_time_of_the_readers_clock(self, open_page, site):
        page = open_page(timezone_id="Europe/Paris")
        page.goto(site.url)
        choose_all(page, {"one.csv": b"a@x.de\n", "two.csv": b"b@x.de\n"})
        options, submit = page.get_by_text("When and how fast"), page.locator("[type=submit]")
        options.click()
        page.get_by_label("Emails a minute, at most").fill("0")
        page.get_by_label("Begin").select_option("at a set time")
        page.get_by_role("textbox", name="Time").fill("2199-12-24T09:00")
        options.click()
        submit.click()  # the browser shows what is wrong
        page.get_by_label("Emails a minute, at most").fill("600")
        submit.click()
        expect(page.locator("#upload-state")).to_contain_text("2 files uploaded.")
        begins = datetime(2199, 12, 24, 8, tzinfo=UTC)
        assert query("SELECT per_minute, resume_at FROM batch") == [(600, begins)] * 2

    def test_addresses_can_be_pasted(self, page, site):
        page.goto(site.url)
        page.get_by_text("or paste addresses").click()
        page.get_by_label("Addresses, one per line").fill("a@x.de, b@x.de; c@x.de")
        expect(page.locator("#preview tbody tr")).to_have_count(3)
        page.get_by_role("button", name="Upload & process").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Pasted addresses.txt")
        expect(page.locator(".facts")).to_contain_text(re.compile(r"= 3 emails"))

    def test_what_is_wrong_with_a_file_is_said_at_the_file(self, open_page, site):
        page = open_page(allowed=REFUSED)
        page.goto(site.url)
        error = page.locator("#upload-error")
        choose(page, b'a@x.de\n"' + b"b" * 200_000)
        expect(error).to_contain_text("Line 2: this row has a cell of more than")
        expect(page.get_by_role("button", name="Upload & process")).to_be_hidden()
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

    def test_a_folder_is_refused_in_words(self, page, site):
        page.goto(site.url)
        # As browsers treat a folder that is dropped: it is a file that can't be read.
        page.evaluate("() => { Blob.prototype.arrayBuffer = () => Promise.reject(new Error()); }")
        choose(page, b"")
        expect(page.locator("#upload-error")).to_have_text(
            "The browser can't read that. If it is a folder, choose the files in it."
        )
