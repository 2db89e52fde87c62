"""The home page, in Chromium: live numbers, search, older batches; markup in names, everywhere."""

import re

import pytest
from playwright.sync_api import expect

from harness.batches import store
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
