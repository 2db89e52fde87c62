"""Several processors, in Chromium: choosing one, its options and columns; processing again."""

import re

import pytest
from playwright.sync_api import expect

from batches.intake import Upload
from harness.batches import store, take_turns
from harness.books import query
from harness.browsing import (
    WATCH_SHIFTS,
    assert_nothing_moved,
    choose,
    choose_all,
    is_live,
    press,
)
from harness.processors import write_processors_with_options
from relay.presence import Ability, ThreadReport

PEOPLE = b'Name,"City, country",Mail\nAnn,"Paris, FR",a@x.de\nBob,Rome,b@x.de\n'
LACKING = "This list has no column “Missing”, which Add to our CRM <i> takes."
PHONE, DESK = {"width": 360, "height": 740}, {"width": 1280, "height": 900}


@pytest.fixture
def site(processes, tmp_path):
    """An app with three processors."""
    return processes("app.py", **write_processors_with_options(tmp_path)).site()


def announce(here, *names):
    here.announce([ThreadReport(1)], 0.0, [Ability(name) for name in names])


def columns():
    return query("SELECT columns FROM batch ORDER BY id DESC LIMIT 1")[0][0]


def chosen():
    return query("SELECT processor, options FROM batch ORDER BY id DESC LIMIT 1")[0]


def processor(page):
    return page.get_by_role("combobox", name="Processor", exact=True)


def send(page):
    page.get_by_role("button", name="Upload & process").click()
    page.wait_for_url("**/batches/*")


@pytest.mark.parametrize("viewport", [PHONE, DESK])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_processor_is_chosen_with_options_and_columns_and_remembered(
    open_page, site, viewport, scheme
):
    page = open_page(viewport=viewport, color_scheme=scheme)
    page.goto(site.url)
    expect(page.get_by_label("Mode")).to_be_hidden()
    processor(page).select_option("Add to our CRM <i>")
    page.get_by_label("Mode").select_option("update")
    page.get_by_label("Most tries").fill("7")
    choose(page, PEOPLE)
    crm = page.locator("[data-processor=crm]")
    expect(crm).to_contain_text("It gets the columns “Name”, “Missing” of a list that has them.")
    expect(page.locator("[data-field=lacking]")).to_have_text(LACKING)
    expect(page.locator(".ticks label")).to_have_text(["All", "City, country"])
    page.locator(".ticks").get_by_label("City, country").check()
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    page.get_by_role("button", name="Upload & process").click()
    page.wait_for_url("**/batches/1")
    assert chosen() == ("crm", {"mode": "update", "most_tries": 7, "dry_run": False})
    assert columns() == ["Name", "City, country"]
    expect(page.locator(".facts .lacking")).to_have_text(LACKING)
    expect(page.locator("#processor")).to_contain_text("Add to our CRM <i>: mode: update")
    page.add_init_script(WATCH_SHIFTS)
    page.goto(site.url)
    is_live(page, "#recent")
    expect(page.get_by_label("Mode")).to_have_value("update")
    expect(page.get_by_label("Most tries")).to_have_value("7")
    expect(page.locator("#batches tbody .processor")).to_have_text("Add to our CRM <i>")
    assert_nothing_moved(page)
    page.get_by_label("Processor of the batches").select_option("other")
    expect(page.locator("#no-batches")).to_be_visible()


def test_a_processor_is_remembered_only_once_something_is_uploaded_for_it(page, site):
    page.goto(site.url)
    processor(page).select_option("crm")
    page.get_by_label("Mode").select_option("update")
    page.reload()
    expect(processor(page)).to_have_value("check")
    processor(page).select_option("crm")
    expect(page.get_by_label("Mode")).to_have_value("add")
    # Several files are remembered, too, and the upload after them replaces what was.
    choose_all(page, {"a.csv": PEOPLE, "b.csv": PEOPLE})
    page.get_by_role("button", name="Upload & process 2 files").click()
    expect(page.locator("#upload-state")).to_contain_text("2 files uploaded")
    page.reload()
    expect(processor(page)).to_have_value("crm")
    processor(page).select_option("check")
    choose(page, PEOPLE)
    send(page)
    page.goto(site.url)
    expect(processor(page)).to_have_value("check")


def test_an_option_that_was_left_alone_follows_its_default(page, site, serve, tmp_path):
    page.goto(site.url)
    processor(page).select_option("crm")
    page.get_by_label("Most tries").fill("7")
    choose(page, PEOPLE)
    send(page)
    kept = page.evaluate("JSON.stringify(localStorage)")
    # What the browser keeps, at an app with other defaults.
    defaults = {"crm__mode": "update", "crm__most_tries": 5, "crm__dry_run": "yes"}
    page.goto(serve(**write_processors_with_options(tmp_path), **defaults).url)
    page.evaluate("(kept) => Object.assign(localStorage, JSON.parse(kept))", kept)
    page.reload()
    expect(processor(page)).to_have_value("crm")
    expect(page.get_by_label("Mode")).to_have_value("update")
    expect(page.get_by_label("Dry run")).to_have_value("yes")
    expect(page.get_by_label("Most tries")).to_have_value("7")


def test_a_batch_is_processed_again_with_another_processor_without_scripts(open_page, site):
    site.upload(PEOPLE)
    assert chosen() == ("check", {})
    take_turns(1, [])
    page = open_page(java_script_enabled=False, viewport=PHONE)
    page.goto(f"{site.url}/batches/1")
    page.get_by_text("Process again with…").click()
    page.get_by_role("combobox", name="Processor").select_option("crm")
    expect(page.get_by_label("Most tries")).to_be_visible()
    page.get_by_label("Dry run").select_option("yes")
    page.get_by_label("Further columns").fill('"City, country"')
    page.get_by_role("button", name="Process all rows").press("Enter")
    page.wait_for_url("**/batches/2")
    assert chosen() == ("crm", {"mode": "add", "most_tries": 3, "dry_run": True})
    assert columns() == ["Name", "City, country"]
    expect(page.locator("#bar")).to_have_attribute("aria-label", "Emails processed")


def test_the_columns_are_chosen_anew_for_another_processor_that_processes_a_batch_again(page, site):
    site.upload(PEOPLE, processor="other", columns='"City, country"')
    site.request("POST", "/api/batches/1/cancel")
    page.goto(f"{site.url}/batches/1")
    page.get_by_text("Process again with…").click()
    expect(page.get_by_label("Further columns", exact=True)).to_be_hidden()
    city = page.locator(".ticks").get_by_label("City, country")
    expect(page.locator(".ticks label")).to_have_text(["All", "Name", "City, country"])
    expect(city).to_be_checked()
    select = page.get_by_role("combobox", name="Processor")
    select.select_option("check")
    expect(city).to_be_hidden()
    select.select_option("crm")
    expect(page.locator("[data-field=lacking]")).to_have_text(LACKING)
    expect(page.locator(".ticks label")).to_have_text(["All", "City, country"])
    expect(city).not_to_be_checked()
    select.select_option("other")
    expect(city).to_be_checked()
    select.select_option("crm")
    page.get_by_role("button", name="Process all rows").click()
    page.wait_for_url("**/batches/2")
    assert (chosen()[0], columns()) == ("crm", ["Name"])


@pytest.mark.parametrize("scripts", [True, False])
def test_no_other_processor_is_chosen_in_the_place_of_one_that_is_broken(open_page, serve, scripts):
    broken = "nowhere_at_all:add Add to our CRM"
    site = serve(processors__crm=broken, processors__check="check Check")
    page = open_page(java_script_enabled=scripts)
    page.goto(site.url)
    select = processor(page)
    expect(select.locator("option")).to_have_text(["Choose…", "Add to our CRM", "Check"])
    expect(select.locator("option:disabled")).to_have_text(["Add to our CRM"])
    expect(page.locator("#choice")).to_contain_text("Add to our CRM can’t be used: ")
    expect(select).to_have_value("")
    choose(page, PEOPLE)
    page.get_by_role("button", name="Upload & process").click()
    assert select.evaluate("(e) => e.matches(':invalid') && e === document.activeElement")
    assert query("SELECT count(*) FROM batch") == [(0,)]
    select.select_option("Check")
    page.get_by_role("button", name="Upload & process").click()
    page.wait_for_url("**/batches/1")
    assert chosen() == ("check", {})
    # Of a batch whose processor is broken since then, it is the same.
    site.request("POST", "/api/batches/1/cancel")
    query("UPDATE batch SET processor = 'crm' WHERE id = 1 RETURNING 1")
    page.reload()
    page.get_by_text("Process again with…").click()
    expect(page.get_by_role("combobox", name="Processor")).to_have_value("")


def test_a_batch_says_that_no_worker_has_its_processor_until_one_has(page, serve, here):
    site = serve(processors__check="check", processors__crm="crm_of_tests:add")
    announce(here, "check")
    batch_id = store("a@x.de", upload=Upload(processor="crm")).batch_id
    page.goto(f"{site.url}/batches/{batch_id}")
    is_live(page)
    line = page.locator("#status .unable")
    expect(line).to_have_text(
        re.compile(r"^No worker has crm; start one with .* --processors crm$")
    )
    announce(here, "check", "crm")
    expect(line).to_be_hidden()
    announce(here, "check")
    expect(line).to_be_visible()
    # A batch that its worker has says nothing of the other processor.
    page.goto(f"{site.url}/batches/{store('b@x.de').batch_id}")
    is_live(page)
    expect(page.locator("#notice")).to_contain_text("no worker has crm. Start one:")
    expect(line).to_be_hidden()


def test_what_is_said_of_the_check_is_said_only_where_it_is_chosen(page, serve, here, tmp_path):
    site = serve(**write_processors_with_options(tmp_path))
    here.announce([ThreadReport(1)], 0.0, [Ability("check", None, "the DNS is away")])
    page.goto(site.url)
    notice = page.locator("#lookups-off")
    about = page.get_by_text("Each address is checked")
    expect(notice.and_(page.get_by_text("the DNS is away"))).to_be_visible()
    processor(page).select_option("other")
    expect(notice).to_be_hidden()
    expect(about).to_be_hidden()
    processor(page).select_option("check")
    expect(notice).to_be_visible()
    expect(about).to_be_visible()
    # It is the same for a processor that is remembered.
    processor(page).select_option("other")
    choose(page, PEOPLE)
    send(page)
    page.goto(site.url)
    expect(processor(page)).to_have_value("other")
    expect(notice).to_be_hidden()


def test_a_processor_and_its_options_are_chosen_by_keyboard(page, site, tmp_path):
    file = tmp_path / "people.csv"
    file.write_bytes(PEOPLE)
    # From the start, because a browser that is only just told to hand over a dialog may open it.
    page.on("filechooser", lambda chooser: chooser.set_files(file))
    page.goto(site.url)
    press(page, "Tab", "Choose a CSV")
    page.keyboard.press("Space")
    expect(page.locator("#preview")).to_be_visible()
    press(page, "Tab", "Processor")
    page.keyboard.type("Add")
    expect(processor(page)).to_have_value("crm")
    press(page, "Tab", "Mode")
    page.keyboard.type("up")
    press(page, "Tab", "Most tries")
    page.keyboard.press("ArrowUp")
    press(page, "Tab", "Dry run")
    page.keyboard.type("y")
    press(page, "Tab", "City, country")
    page.keyboard.press("Space")
    press(page, "Tab", "Upload & process")
    page.keyboard.press("Enter")
    page.wait_for_url("**/batches/1")
    assert chosen() == ("crm", {"mode": "update", "most_tries": 4, "dry_run": True})
