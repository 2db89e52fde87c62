"""The home page, in Chromium: live numbers, search, older batches; markup in names, everywhere."""

import re

import pytest
from playwright.sync_api import expect

from harness.batches import store
from harness.books import query
from harness.browsing import (
    WATCH_SHIFTS,
    assert_nothing_moved,
    await_completed,
    await_worker,
    choose,
    is_live,
    list_of,
)
from harness.files import csv_of
from harness.polling import eventually

# How far and how fast a batch is, and how long it still takes.
RUNNING = re.compile(r"^\d+% · [1-9][\d,]*/s · \d+:\d\d left$")
# The same, from ten percent on.
TWO_DIGITS = re.compile(r"^\d\d% · ")


def pace(row):
    return row.locator("[data-field=pace]")


def names(page):
    """The names of the files in the list, from the top."""
    return page.locator("#batches tbody .file").all_inner_texts()


class TestHome:
    def test_the_batches_are_live(self, page, site, processes, slow):
        page.goto(site.url)
        is_live(page, "#recent")
        batch_id = site.upload(list_of(2000), filename="late.csv").json["batchId"]
        row = page.locator(f'#batches tr[data-batch="{batch_id}"]')
        expect(row).to_contain_text("late.csv")
        expect(row).to_contain_text("pending")
        processes("worker.py", **slow)
        expect(pace(row)).to_have_text(RUNNING)
        expect(row.locator("rect").first).not_to_have_attribute("width", "0")
        processes("worker.py")  # one that isn't slow
        expect(row).to_contain_text("completed", timeout=80_000)
        expect(pace(row)).to_be_empty()
        expect(row.locator("rect")).to_have_count(0)
        numbers = [number.replace(",", "") for number in row.locator(".number").all_inner_texts()]
        assert numbers == ["2000", "1900", "0", "0", "100"]
        expect(row).not_to_contain_text("failed")

    def test_nothing_moves_when_its_scripts_begin(self, page, site):
        store("a@x.de")
        page.add_init_script(WATCH_SHIFTS)
        held = []
        page.route("**/js/home.js", lambda route: held.append(route))
        page.goto(site.url, wait_until="commit")
        page.wait_for_function("document.readyState == 'interactive'")
        # What moves while the page still comes isn't the scripts' doing.
        frames = """
            async () => {
                for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);
            }
        """
        page.evaluate(frames)
        page.evaluate("window.shifts = []")
        # Playwright holds a request only while it waits for something.
        eventually(lambda: page.wait_for_timeout(20) or held)
        (script,) = held
        script.continue_()
        is_live(page, "#recent")
        page.evaluate(frames)
        assert page.evaluate("window.shifts") == []

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
        for row in (rows.first, rows.last):
            # At first, the percentage has one digit.
            expect(pace(row)).to_have_text(TWO_DIGITS, timeout=80_000)
        processes("worker.py")  # one that isn't slow
        for row in (rows.first, rows.last):
            expect(row).to_contain_text("completed", timeout=80_000)
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
        page.get_by_role("button", name="Search").click()
        site.upload(csv_of("b@x.de"))
        expect(rows).to_have_count(51)

    def test_the_rows_are_sorted_by_a_click_and_then_stay(self, page, site):
        for name, number in (("b.csv", 2), ("list 10.csv", 30), ("list 9.csv", 4)):
            site.upload(list_of(number), filename=name)
        page.goto(site.url)
        is_live(page, "#recent")
        head = page.get_by_role("columnheader")
        assert names(page) == ["list 9.csv", "list 10.csv", "b.csv"]
        expect(head.filter(has_text="Uploaded")).to_have_attribute("aria-sort", "descending")
        page.get_by_role("button", name="File", exact=True).click()
        assert names(page) == ["b.csv", "list 9.csv", "list 10.csv"]
        expect(head.filter(has_text="File")).to_have_attribute("aria-sort", "ascending")
        expect(page.locator("#batches [aria-sort]")).to_have_count(1)
        page.get_by_role("button", name="Emails").press("Enter")
        assert names(page) == ["list 10.csv", "list 9.csv", "b.csv"]
        site.upload(list_of(50), filename="new.csv")
        site.request("POST", "/api/batches/1/cancel")
        expect(page.locator("#batches tbody tr")).to_have_count(4)
        expect(page.locator("#batches tbody")).to_contain_text("cancelled")
        assert names(page) == ["list 10.csv", "list 9.csv", "b.csv", "new.csv"]
        page.get_by_role("button", name="Uploaded").click()
        site.upload(list_of(2), filename="newest.csv")
        expect(page.locator("#batches tbody tr")).to_have_count(5)
        assert names(page)[:2] == ["newest.csv", "new.csv"]

    def test_times_say_how_long_ago_and_go_on(self, open_page, site):
        batch_id = store("a@x.de").batch_id
        query(
            f"UPDATE batch SET created_at = now() - interval '119 minutes 50 seconds'"
            f" WHERE id = {batch_id} RETURNING 1"
        )
        page = open_page(timezone_id="Europe/Berlin")
        page.clock.install()
        page.goto(site.url)
        time = page.locator("#batches time")
        expect(time).to_have_text("1 hour ago")
        expect(time).to_have_attribute(
            "title", re.compile(r"^\d+ [A-Z][a-z]+ 20\d\d, \d\d:\d\d (CET|CEST|GMT\+[12])$")
        )
        page.clock.fast_forward("00:35")
        expect(time).to_have_text("2 hours ago")

    def test_the_clock_of_the_browser_may_be_wrong(self, page, site):
        store("a@x.de")
        page.clock.install(time="2020-01-01T00:00:00Z")
        page.goto(site.url)
        is_live(page, "#recent")
        expect(page.locator("#batches time")).to_have_text("just now")

    def test_a_list_on_one_line_is_counted_by_its_addresses(self, page, site):
        site.upload(b"a@x.de, b@x.de, c@x.de", filename="Pasted addresses.txt")
        page.goto(site.url)
        expect(page.locator("#batches [data-field=total]")).to_have_text("3")

    def test_all_of_a_card_on_a_phone_can_be_hit(self, open_page, site, processes):
        site.upload(list_of(3), filename="people.csv")
        processes("worker.py")
        eventually(lambda: site.get("/api/health").json["workersAlive"])
        page = open_page(viewport={"width": 360, "height": 740}, has_touch=True)
        page.goto(site.url)
        row = page.locator("#batches tbody tr")
        row.scroll_into_view_if_needed()
        place = row.bounding_box()
        assert place["height"] >= 44
        page.touchscreen.tap(place["x"] + place["width"] / 2, place["y"] + place["height"] - 4)
        page.wait_for_url("**/batches/1")

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
