"""A processor's answers in the table of a batch's rows, in Chromium."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from batches import commits
from harness.batches import ADDRESSES, claim_next, completed, start, store
from postgres.database import pool, session
from processors import Findings, Outcome

HOSTILE = {
    "customer": "17",
    "<b>name</b>": "<script>document.title = 'taken'</script>",
    "שם": "one\ntwo",
    "=cmd": "x" * 500,
    "empty": "",
    "a name of sixty characters, the most that a name can ever have": "é",
}


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.parametrize("width", [360, 1440])
def test_the_first_answers_are_shown_and_the_others_a_click_away(open_page, site, scripts, width):
    batch_id = completed([(2, "processed", None, HOSTILE), (3, "failed", "odd", {"customer": "4"})])
    page = open_page(java_script_enabled=scripts, viewport={"width": width, "height": 800})
    page.goto(f"{site.url}/batches/{batch_id}")
    for _ in range(2):
        rows = page.locator("#rows tbody tr")
        expect(rows).to_have_count(len(ADDRESSES))
        answers = rows.nth(1).locator(".answers")
        few = answers.locator("> ul > li")
        expect(few).to_have_count(3)
        expect(few.nth(0)).to_have_text("customer 17")
        expect(few.nth(1)).to_have_text(f"<b>name</b> {HOSTILE['<b>name</b>']}")
        expect(rows.nth(2).locator(".answers li")).to_have_text(["customer 4"])
        expect(rows.nth(2).locator("details")).to_have_count(0)
        expect(rows.nth(0).locator(".answers li")).to_have_count(0)
        answers.get_by_text("More answers").click()
        others = answers.locator("details li")
        expect(others.locator("b")).to_have_text([*HOSTILE][3:])
        expect(others.nth(0)).to_be_visible()
        expect(others.nth(0).locator("span")).to_have_text(HOSTILE["=cmd"])
        empty = others.nth(1).locator("span")
        assert empty.evaluate("(e) => getComputedStyle(e, '::after').content") == '"empty"'
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert "taken" not in page.title()
        if not scripts:
            return
        assert Axe().run(page).response["violations"] == []
        # The script makes the same rows.
        page.get_by_label("Address contains").fill("user1@")
        page.get_by_role("button", name="Search").click()
        expect(rows).to_have_count(1)
        page.get_by_role("link", name="Show all").click()


def test_answers_come_into_the_table_while_it_is_open(page, site):
    batch_id = store(*ADDRESSES).batch_id
    start(batch_id)
    page.goto(f"{site.url}/batches/{batch_id}")
    rows = page.locator("#rows tbody tr")
    expect(rows).to_have_count(len(ADDRESSES))
    with session(), pool.atomic():
        claim = claim_next(batch_id)
        others = [(at, Outcome("processed", None, {"n": str(at)})) for at in range(len(claim.ids))]
        commits.commit_outcomes(claim, Findings(len(claim.ids), others))
    expect(rows.nth(9).locator(".answers li")).to_have_text(["n 9"])
