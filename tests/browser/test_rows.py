"""The table of a batch's rows, in Chromium: found, counted, shown page by page, copied."""

import re

import pytest
from playwright.sync_api import expect

from harness.batches import ADDRESSES, completed, store, take_turn
from harness.browsing import await_completed, field
from harness.files import csv_of


def test_rows_of_a_rare_kind_are_found_among_many(page, site):
    addresses = [f"user{n}@example.com" for n in range(120_000)]
    batch_id = site.upload(csv_of(*addresses)).json["batchId"]
    page.goto(f"{site.url}/batches/{batch_id}")
    page.get_by_label("Address contains").fill("user119999@")
    page.get_by_role("button", name="Search").click()
    rows = page.locator("#rows tbody tr")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("120,000")
    with page.expect_download() as downloading:
        page.get_by_label("Other downloads").click()
        page.get_by_role("link", name="Download what is shown below as JSON lines").click()
    assert downloading.value.suggested_filename == "list.user119999@.partial.jsonl"
    assert downloading.value.path().read_bytes().count(b"\n") == 1
    page.get_by_role("link", name="Show all").click()
    expect(rows).to_have_count(50)
    page.get_by_label("Other downloads").click()
    expect(page.get_by_text("what is shown below")).to_be_hidden()
    page.keyboard.press("Escape")
    expect(page.get_by_label("Download all as CSV")).to_be_hidden()
    expect(page.get_by_label("Other downloads")).to_be_focused()


@pytest.mark.parametrize("scripts", [True, False])
def test_no_duplicate_of_a_line_is_lost_between_two_pages(open_page, site, scripts):
    page = open_page(java_script_enabled=scripts)
    batch_id = site.upload(b"; ".join([b"a@x.de"] * 120) + b"\nb@x.de\n").json["batchId"]
    page.goto(f"{site.url}/batches/{batch_id}?kind=duplicate")
    rows, seen = page.locator("#rows tbody tr"), 0
    for number in (50, 100, 119):
        expect(rows).to_have_count(number if scripts else number - seen)
        expect(field(page, "of", "#emails")).to_have_text(f"{rows.count()} of 119")
        seen = number
        if number < 119:
            page.get_by_role("link", name="Show more").click()
    expect(page.get_by_role("link", name="Show more")).to_be_hidden()


def test_the_filter_is_named_alike_by_page_and_script_and_when_gone_back_to(page, site):
    batch_id = site.upload(b"a@x.de,1\n,2\n").json["batchId"]
    page.goto(f"{site.url}/batches/{batch_id}?status=pending")
    shown = field(page, "shown", "#emails")
    expect(shown).to_have_text("Only: pending")
    page.get_by_role("link", name="1 without an address").click()
    expect(shown).to_have_text("Only: without an address")
    page.reload()
    expect(shown).to_have_text("Only: without an address")
    page.get_by_label("Address contains").fill("a@")
    page.get_by_role("button", name="Search").click()
    expect(shown).to_have_text("Only: containing “a@”")
    for words in ("Only: without an address", "Only: pending"):
        page.go_back()
        expect(shown).to_have_text(words)


def test_the_head_stays_in_sight(page, site):
    page.goto(f"{site.url}/batches/{store(*(f'user{n}@x.de' for n in range(50))).batch_id}")
    page.locator("#rows tbody tr").nth(40).scroll_into_view_if_needed()
    head = page.locator("#rows thead .address")
    expect(head).to_be_in_viewport()
    assert head.evaluate("head => head.getBoundingClientRect().top") == 0


@pytest.mark.parametrize("secure", [True, False])
def test_addresses_are_copied(open_page, site, secure):
    """Over plain HTTP, browsers have no clipboard for scripts."""
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    if not secure:
        page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.goto(f"{site.url}/batches/{completed()}")
    search = page.get_by_label("Address contains")

    def pasted():
        search.fill("")
        search.press("Control+V")
        return search.input_value()

    page.get_by_label("Copy user3@x.de").click()
    expect(page.get_by_label("Copy user3@x.de")).to_have_attribute("data-copied", "")
    assert pasted() == "user3@x.de"
    page.get_by_label("Select user4@x.de").check()
    page.get_by_label("Select user9@x.de").check()
    page.get_by_role("button", name="Copy 2 addresses").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert re.split(r"\s+", pasted()) == ["user4@x.de", "user9@x.de"]
    page.get_by_label("Select all that are shown").check()
    expect(page.get_by_role("button", name="Copy 10 addresses")).to_be_visible()
    page.get_by_role("link", name="invalid").first.click()
    expect(page.locator("#rows tbody tr")).to_have_count(3)
    expect(page.locator("#copy-picked")).to_be_hidden()
    assert len(ADDRESSES) == 10


def test_a_browser_that_forbids_copying_is_told_of(page, site):
    page.add_init_script(
        """
        navigator.clipboard.writeText = () => Promise.reject(new DOMException());
        document.execCommand = () => false;
        """
    )
    page.goto(f"{site.url}/batches/{completed()}")
    page.get_by_label("Copy user3@x.de").click()
    expect(page.locator("#emails-error")).to_have_text(
        "The browser doesn't allow that text is copied."
    )
    expect(page.get_by_label("Copy user3@x.de")).not_to_have_attribute("data-copied", "")


def test_what_is_ticked_stays_so_while_rows_come(page, site, processes):
    batch_id = store(*ADDRESSES, chunk_size=3).batch_id
    take_turn(batch_id, ())
    page.goto(f"{site.url}/batches/{batch_id}?verdict=ok")
    rows = page.locator("#rows tbody tr")
    expect(rows).to_have_count(3)
    box = page.get_by_label("Select user2@x.de")
    box.check()
    processes("worker.py")
    expect(rows).to_have_count(10)
    expect(box).to_be_checked()
    expect(box).to_be_focused()
    expect(page.get_by_role("button", name="Copy 1 address")).to_be_visible()
    assert rows.locator(".address span").all_inner_texts() == ADDRESSES


def test_rows_asked_for_come_even_if_the_batch_ends_meanwhile(page, site, processes):
    batch_id = store(*(f"user{n}@x.de" for n in range(120))).batch_id
    asked = []
    page.route("**/emails?*after=50*", lambda route: asked.append(route), times=1)
    page.goto(f"{site.url}/batches/{batch_id}")
    page.get_by_role("link", name="Show more").click()
    processes("worker.py")
    await_completed(page)
    asked[0].continue_()
    rows = page.locator("#rows tbody tr")
    expect(rows).to_have_count(100)
    expect(rows.locator(".badge", has_text="ok")).to_have_count(100)


def test_the_message_about_a_retry_is_in_no_later_address(page, site):
    page.goto(f"{site.url}/batches/{completed()}?retried=3")
    expect(page.locator("#message")).to_have_text("3 emails were checked again.")
    page.get_by_label("Address contains").fill("user1")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#rows tbody tr")).to_have_count(2)
    assert page.url.endswith("?q=user1#emails")
