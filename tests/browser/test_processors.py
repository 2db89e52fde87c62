"""Several processors, in Chromium: choosing one, its options and columns; processing again."""

import pytest
from playwright.sync_api import expect

from harness.batches import take_turns
from harness.books import query
from harness.browsing import WATCH_SHIFTS, assert_nothing_moved, choose, is_live

OWN = """
from processors import Option, one_by_one

@one_by_one
def add(address):
    return None

add.declared_options = (
    Option("mode", choices=("add", "update"), default="add", per_batch=True,
           about="What to do with <b>new</b> ones."),
    Option("most_tries", int, 3, about="How often to try.", per_batch=True),
    Option("dry_run", bool, False, about="Whether to change nothing.", per_batch=True),
    Option("secret", default="hidden"),
)
add.columns = ("Name", "Missing")

@one_by_one
def other(address):
    return None
"""
PEOPLE = b'Name,"City, country",Mail\nAnn,"Paris, FR",a@x.de\nBob,Rome,b@x.de\n'
PHONE, DESK = {"width": 360, "height": 740}, {"width": 1280, "height": 900}


@pytest.fixture
def site(processes, tmp_path):
    """An app with three processors."""
    (tmp_path / "crm_of_tests.py").write_text(OWN)
    named = {
        "processors__check": "check Check addresses",
        "processors__crm": "crm_of_tests:add Add to our CRM <i>",
        "processors__other": "crm_of_tests:other Other work",
    }
    return processes("app.py", **named).site()


def chosen():
    return query("SELECT processor, options FROM batch ORDER BY id DESC LIMIT 1")[0]


@pytest.mark.parametrize("viewport", [PHONE, DESK])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_processor_is_chosen_with_options_and_columns_and_remembered(
    open_page, site, viewport, scheme
):
    page = open_page(viewport=viewport, color_scheme=scheme)
    page.goto(site.url)
    expect(page.get_by_label("Mode")).to_be_hidden()
    page.get_by_role("combobox", name="Processor", exact=True).select_option("Add to our CRM <i>")
    page.get_by_label("Mode").select_option("update")
    page.get_by_label("Most tries").fill("7")
    choose(page, PEOPLE)
    expect(page.locator("#ticks").get_by_label("Name")).to_be_disabled()
    page.locator("#ticks").get_by_label("City, country").check()
    ticked = page.evaluate("[...document.querySelectorAll('#ticks :checked')].map((e) => e.value)")
    assert ticked == ["Name", "City, country"]
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    page.get_by_role("button", name="Upload & process").click()
    page.wait_for_url("**/batches/1")
    assert chosen() == ("crm", {"mode": "update", "most_tries": 7, "dry_run": False})
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
    page.get_by_label("Columns that it gets").fill('"City, country"')
    page.get_by_role("button", name="Process all rows").press("Enter")
    page.wait_for_url("**/batches/2")
    assert chosen() == ("crm", {"mode": "add", "most_tries": 3, "dry_run": True})
    expect(page.locator("#bar")).to_have_attribute("aria-label", "Emails processed")
