"""Pages for everybody: any width, light and dark, by keyboard, without scripts, read aloud."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from harness.batches import ADDRESSES, MARKED, completed, start, store, take_turns
from harness.books import query
from harness.browsing import await_completed, choose, field, list_of, press
from harness.files import csv_of
from harness.processors import write_check_of_staff, write_processors_with_options

LONG = f"{'a-very-long-name' * 8}.csv"
PEOPLE = b'Name,"City, country",Mail\nAnn,"Paris, FR",a@x.de\nBob,Rome,b@x.de\n'
PHONE, DESK = {"width": 360, "height": 740}, {"width": 1440, "height": 900}
# What fits depends on the width, what can be read on the colours, and neither on the other.
LOOKS = [
    {"viewport": PHONE, "color_scheme": "dark", "reduced_motion": "reduce"},
    {"viewport": DESK, "color_scheme": "light"},
]


# What can be hit by a finger, and is too small for it.
SMALL = """
() => [...document.querySelectorAll("a[href], button, input, select, summary, textarea")]
    .filter((each) => each.checkVisibility({ visibilityProperty: true }) && each.type !== "file")
    .map((each) => [each.outerHTML.slice(0, 80), each.getBoundingClientRect()])
    .filter(([, { width, height }]) => width < 43.5 || height < 43.5)
    .map(([html, { width, height }]) => `${html} ${Math.round(width)} x ${Math.round(height)}`)
"""


def look_at(page, width):
    """The page must fit its window and fingers, and axe-core must find nothing to object to."""
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if width == PHONE["width"]:
        assert page.evaluate(SMALL) == []
    found = Axe().run(page).response
    assert found["passes"]
    assert [
        (each["id"], [node["html"] for node in each["nodes"]]) for each in found["violations"]
    ] == []


@pytest.fixture
def batches(site):
    """Batches in all states, by name."""
    waiting = site.upload(csv_of(*ADDRESSES), filename=LONG).json["batchId"]
    cancelled = store(*ADDRESSES).batch_id
    site.request("POST", f"/api/batches/{cancelled}/cancel")
    rows = b"a@x.de,1\n,2\nA@x.de,3\n\nb@x.de,4\n"
    processing = site.upload(rows, per_minute="600").json["batchId"]
    start(processing)
    typos = store("anna@gmial.com", *ADDRESSES).batch_id
    take_turns(typos, [(1, "processed", "likely_typo"), *MARKED[1:]])
    own = completed([(2, "failed", "not_staff"), (7, "processed", "on_leave")])
    large = completed()
    counts = "total_emails = 4987654, total_rows = 4987654, processed_count = 4987654"
    query(f"UPDATE batch SET {counts} WHERE id = {large} RETURNING 1")
    return {
        "waiting": waiting, "cancelled": cancelled, "processing": processing, "typos": typos,
        "own": own, "large": large,
    }  # fmt: skip


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_no_page_in_any_state_is_too_wide_or_keeps_anybody_out(open_page, site, batches, look):
    width = look["viewport"]["width"]
    page = open_page(allowed="status of 4", **look)
    for name, batch_id in batches.items():
        page.goto(f"{site.url}/batches/{batch_id}")
        if name == "typos":
            expect(page.locator("#typos")).to_be_visible()
        look_at(page, width)
    page.goto(f"{site.url}/batches/{batches['processing']}?kind=duplicate")
    look_at(page, width)
    page.get_by_text("At most 600 a minute").click()
    look_at(page, width)
    page.get_by_role("button", name="Cancel…").click()
    look_at(page, width)
    page.goto(f"{site.url}/batches/{batches['own']}?q=nobody")
    look_at(page, width)
    page.goto(f"{site.url}/batches/77")
    look_at(page, width)
    page.goto(f"{site.url}/?q=nothing")
    look_at(page, width)
    page.goto(site.url)
    look_at(page, width)
    choose(page, b"a@x.de\n" + b'"' + b"b" * 200_000)
    expect(page.locator("#upload-error")).to_be_visible()
    look_at(page, width)
    choose(page, b",".join(b"a-long-heading-%d" % n for n in range(30)) + b"\n" + b"a@x.de," * 29)
    expect(page.locator("#preview")).to_be_visible()
    page.get_by_text("or paste addresses").click()
    page.get_by_text("When and how fast").click()
    page.get_by_label("Begin").select_option("at a set time")
    look_at(page, width)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=str)
def test_no_page_with_several_processors_keeps_anybody_out(
    open_page, processes, tmp_path, viewport, scheme
):
    site = processes("app.py", **write_processors_with_options(tmp_path)).site()
    site.upload(PEOPLE, filename=LONG, processor="crm")
    done = site.upload(PEOPLE).json["batchId"]
    take_turns(done, [])
    page = open_page(viewport=viewport, color_scheme=scheme, reduced_motion="reduce")
    page.goto(site.url)
    look_at(page, viewport["width"])
    page.get_by_role("combobox", name="Processor", exact=True).select_option("crm")
    choose(page, PEOPLE)
    page.locator(".ticks").get_by_label("City, country").check()
    look_at(page, viewport["width"])
    page.goto(f"{site.url}/batches/1")
    look_at(page, viewport["width"])
    page.goto(f"{site.url}/batches/{done}")
    page.get_by_text("Process again with…").click()
    page.get_by_role("combobox", name="Processor").select_option("crm")
    look_at(page, viewport["width"])


# Links among the facts whose text, at its upper or lower edge, belongs to another one's hit area.
MISSED = """
() => [...document.querySelectorAll(".facts a")].filter((each) => {
    each.scrollIntoView({ block: "center" });
    const text = document.createRange();
    text.selectNodeContents(each);
    const { left, width, top, bottom } = text.getBoundingClientRect();
    const middle = left + width / 2;
    return [top + 2, bottom - 2].some((y) => document.elementFromPoint(middle, y) !== each);
}).map((each) => each.textContent)
"""


@pytest.mark.parametrize("width", [360, 390])
def test_the_row_counts_are_close_lines_of_which_each_text_can_be_hit(
    open_page, site, batches, width
):
    page = open_page(viewport={"width": width, "height": 740})
    page.goto(f"{site.url}/batches/{batches['processing']}")
    assert page.evaluate(MISSED) == []
    height = page.locator(".facts p").first.evaluate("each => getComputedStyle(each).lineHeight")
    assert float(height.removesuffix("px")) <= 30


def test_an_empty_page_too(open_page, site):
    page = open_page()
    page.goto(site.url)
    look_at(page, 1280)


def test_all_by_keyboard(page, site, processes, tmp_path):
    processes("worker.py").await_line("worker started")
    file = tmp_path / "people.csv"
    file.write_bytes(list_of(100))
    # From the start, because a browser that is only just told to hand over a dialog may open it.
    page.on("filechooser", lambda chooser: chooser.set_files(file))
    page.goto(site.url)
    press(page, "Tab", "Choose a CSV")
    page.keyboard.press("Space")
    expect(page.locator("#preview")).to_be_visible()
    press(page, "Tab", "Change how the file is read")
    page.keyboard.press("Enter")
    press(page, "Tab", "Address column")
    press(page, "Shift+Tab", "Upload & process")
    page.keyboard.press("Enter")
    page.wait_for_url("**/batches/1")
    await_completed(page)
    # The reasons come by a request of their own, after the status.
    expect(page.get_by_role("link", name="There is no @-sign.")).to_be_visible()
    press(page, "Tab", "There is no @-sign.")
    page.keyboard.press("Enter")
    rows = page.locator("#rows tbody tr")
    expect(rows).to_have_count(5)
    assert page.evaluate("document.activeElement.id") == "emails-heading"
    press(page, "Tab", "Address contains")
    page.keyboard.type("bad20")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(1)
    press(page, "Shift+Tab", "Delete…")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Keep it")).to_be_focused()
    for _ in range(6):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('dialog:modal, body')") is not None
        assert page.evaluate("!document.activeElement.closest('main > :not(:has(dialog))')")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("Enter")
    press(page, "Shift+Tab", "Delete batch")
    page.keyboard.press("Enter")
    expect(page.locator("main > .message")).to_have_text("Batch 1 has been deleted.")


def test_what_happens_is_announced(page, site):
    batch_id = store("a@x.de").batch_id
    page.goto(f"{site.url}/batches/{batch_id}")
    bar = page.get_by_role("progressbar", name="Emails checked")
    expect(bar).to_have_attribute("aria-valuenow", "0")
    for name in ("status", "connection"):
        assert field(page, name).get_attribute("role") == "status"
    page.goto(site.url)
    for name in ("headline", "upload-state"):
        expect(page.locator(f"#{name}")).to_have_attribute("role", "status")
    choose(page, b"name\nAnn\n")
    expect(page.get_by_role("alert")).to_contain_text("No email address was found in the file.")
    expect(page.get_by_role("button", name="Upload & process")).to_be_disabled()


def test_without_scripts_forms_and_numbers_still_work(open_page, site, processes, tmp_path):
    processor = write_check_of_staff(tmp_path)
    processes("worker.py", worker__processor=processor).await_line("worker started")
    page = open_page(java_script_enabled=False, viewport=PHONE)
    page.goto(site.url)
    choose(page, list_of(100) + b"ann@gone.example.com\n")
    page.get_by_role("button", name="Upload & process").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("people.csv")

    def done():
        page.reload()
        return field(page, "status").inner_text() == "completed"

    for _ in range(200):
        if done():
            break
    expect(page.locator(".verdicts")).to_contain_text("95 ok (94%)")
    page.get_by_role("link", name="There is no @-sign.").click()
    rows = page.locator("#rows tbody tr")
    expect(rows).to_have_count(5)
    page.get_by_label("Address contains").fill("bad20")
    page.get_by_role("button", name="Search").click()
    expect(rows).to_have_count(1)
    page.get_by_role("link", name="Show all").click()
    expect(rows).to_have_count(50)
    page.get_by_role("link", name="Show more").click()
    expect(rows.last).to_contain_text("user99@example.com")
    page.get_by_text("Check again").click()
    page.get_by_role("button", name="6 invalid").click()
    expect(page.locator("#message")).to_have_text(re.compile("^6 emails (are|were) checked again"))
    page.goto(site.url)
    page.get_by_text("or paste addresses").click()
    page.locator("#text").fill("a@x.de\nb@x.de")
    page.get_by_role("button", name="Upload & process").click()
    expect(page.locator(".facts")).to_contain_text(re.compile(r"2 rows =\s+2 "))
    page.goto(f"{site.url}/?q=pasted")
    expect(page.locator("#batches tbody tr")).to_have_count(1)
    for _ in range(200):
        page.goto(f"{site.url}/batches/2")
        if field(page, "status").inner_text() == "completed":
            break
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("button", name="Delete batch").click()
    expect(page.locator("main > .message")).to_have_text("Batch 2 has been deleted.")
