"""The reasons on the page of a batch, in Chromium."""

import re

from playwright.sync_api import expect

from harness.batches import ADDRESSES, store, take_turn
from harness.browsing import await_completed, is_live


class TestReasons:
    def test_the_most_frequent_reasons_are_shown_and_the_rare_ones_are_a_click_away(
        self, page, site, start_own
    ):
        batch_id = store(*(f"user{n}@x.de" for n in range(1, 14))).batch_id
        page.goto(f"{site.url}/batches/{batch_id}")
        is_live(page)
        start_own("twelve")
        await_completed(page)
        more = page.locator("#more-reasons")
        for _ in ("live", "rendered by the server"):
            expect(page.locator("#reasons li")).to_have_count(8)
            expect(page.locator("#reasons li").first).to_have_text(
                re.compile(r"Own 12\.\s+15%\s+2")
            )
            expect(more.locator("summary")).to_have_text("4 more")
            expect(more.locator("li").first).to_be_hidden()
            assert {
                (int(each.get_attribute("data-reason")[4:]) % 2,
                 each.locator(".swatch").get_attribute("data-part"))
                for each in page.locator("li[data-reason]").all()
            } == {(0, "risky"), (1, "invalid")}  # fmt: skip
            more.locator("summary").click()
            more.get_by_role("link").last.click()
            expect(page.locator("#rows tbody tr")).to_have_count(1)
            page.reload()

    def test_the_mark_of_the_filter_follows_its_reason(self, page, site, start_own):
        batch_id = store(*ADDRESSES, chunk_size=1).batch_id
        take_turn(batch_id, [(1, "failed", "rare")])
        page.goto(f"{site.url}/batches/{batch_id}?reason=rare")
        expect(page.locator("#reasons a[aria-current]")).to_contain_text("Rare")
        start_own("frequent")
        await_completed(page)
        expect(page.locator("#reasons a").first).to_contain_text("Frequent")
        expect(page.locator("#reasons a[aria-current]")).to_contain_text("Rare")

    def test_the_sum_of_rare_reasons_is_no_link(self, page, site, start_own):
        page.goto(f"{site.url}/batches/{store(*(f'user{n}@x.de' for n in range(103))).batch_id}")
        start_own("each_its_own")
        await_completed(page)
        for _ in ("live", "rendered by the server"):
            expect(page.locator("#reasons li").first).to_have_text(
                re.compile(r"Other reasons\.\s+3%\s+3")
            )
            expect(page.get_by_role("link", name="Other reasons.")).to_have_count(0)
            page.reload()
