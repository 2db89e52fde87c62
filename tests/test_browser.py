"""The page in headless Chromium, over both real processes."""

import os
import signal

import chromium
import pytest
from playwright.sync_api import expect, sync_playwright
from support import Site, csv_of, start, write_slow_processor

import presence
from database import pool
from presence import Presence, ThreadReport

FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
expect.set_options(timeout=20_000)


@pytest.fixture(scope="module")
def browser():
    executable = chromium.executable()
    assert executable, "no Chromium to test with: run make browser"
    sandbox = [] if os.geteuid() else ["--no-sandbox"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS + sandbox)
        yield browser
        browser.close()


# What the browser itself writes when the server answers a request with an error.
REFUSED = "Failed to load resource: the server responded with a status of 422"


@pytest.fixture
def page(browser):
    """A page whose console must stay free of errors and warnings."""
    context = browser.new_context()
    page = context.new_page()
    said = []

    def note(message):
        if message.type in ("error", "warning") and not message.text.startswith(REFUSED):
            said.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.set_default_timeout(20_000)
    yield page
    context.close()
    assert said == []


@pytest.fixture
def site(processes) -> Site:
    return processes("app.py").site()


def list_of(count):
    return csv_of("email", *(f"user{n}@example.com" if n % 20 else f"bad{n}" for n in range(count)))


def choose(page, content, name="people.csv"):
    page.set_input_files(
        "#file", {"name": name, "mimeType": "text/csv", "buffer": content}
    )  # fmt: skip


def test_a_file_is_uploaded_and_the_bar_runs_until_it_is_full(page, site, processes):
    processes("worker.py").await_line("worker started")
    page.goto(site.url)
    expect(page.locator("#no-batches")).to_be_visible()
    choose(page, list_of(5000))
    expect(page.locator("#chosen")).to_contain_text("people.csv")
    page.get_by_role("button", name="Upload & process").click()
    card = page.locator("#status")
    expect(card.locator("[data-field=status]")).to_have_text("completed")
    expect(card.locator("[data-field=filename]")).to_have_text("people.csv")
    expect(card.locator(".fraction")).to_have_text("5,000 / 5,000")
    expect(card.locator("[data-field=percent]")).to_have_text("100%")
    expect(card.locator("[data-field=failed]")).to_have_text("250")
    bar = card.locator("[data-field=bar]")
    assert bar.evaluate("bar => bar.value / bar.max") == 1
    row = page.locator("#batches tbody tr")
    expect(row).to_have_count(1)
    expect(row.locator("[data-field=status]")).to_have_text("completed")
    expect(page.locator("#notice")).to_be_hidden()
    expect(page.locator("#health")).to_have_attribute("data-level", "ok")


def test_progress_is_seen_live_and_never_goes_back(page, site, processes, tmp_path):
    slow = write_slow_processor(tmp_path, milliseconds=2)
    worker = processes("worker.py", worker__processor=slow, worker__turn_seconds=0.1)
    worker.await_line("worker started")
    page.goto(site.url)
    page.evaluate(
        """() => {
            window.seen = [];
            const bar = document.querySelector("#status [data-field=bar]");
            const note = () => window.seen.push(bar.value);
            new MutationObserver(note).observe(bar, { attributes: true });
        }"""
    )
    choose(page, list_of(1000))
    page.get_by_role("button", name="Upload & process").click()
    expect(page.locator("#status [data-field=connection]")).to_have_text("live")
    expect(page.locator("#status [data-field=status]")).to_have_text("completed")
    seen = page.evaluate("window.seen")
    assert len(set(seen)) > 3
    assert seen == sorted(seen)
    assert seen[-1] == 1000


def test_without_a_worker_the_page_says_why_nothing_moves_until_one_comes(page, site, processes):
    page.goto(site.url)
    choose(page, list_of(100))
    page.get_by_role("button", name="Upload & process").click()
    expect(page.locator("#status [data-field=status]")).to_have_text("pending")
    expect(page.locator("#notice")).to_contain_text("python worker.py --threads 4")
    processes("worker.py")
    expect(page.locator("#status [data-field=status]")).to_have_text("completed")
    expect(page.locator("#notice")).to_be_hidden()


def test_a_refused_file_is_explained_and_another_can_be_chosen(page, site):
    page.goto(site.url)
    page.get_by_role("button", name="Upload & process").click()
    error = page.locator("#upload-error")
    expect(error).to_have_text("Choose a file first.")
    choose(page, b'a@x.de\n"' + b"b" * 200_000)
    expect(error).to_be_hidden()
    page.get_by_role("button", name="Upload & process").click()
    expect(error).to_contain_text("Line 2: this can't be read as CSV")
    expect(page.get_by_role("button", name="Upload & process")).to_be_enabled()


def test_a_click_on_a_batch_opens_its_status_and_markup_stays_text(page, site):
    name = "<img src=x onerror=alert(1)>.csv"
    site.upload(csv_of("a@x.de", "b@x.de"), filename=name)
    site.upload(csv_of("a@x.de"), filename="second.csv")
    page.goto(site.url)
    title = page.locator("#status [data-field=filename]")
    expect(title).to_have_text("second.csv")
    page.get_by_role("link", name=name).click()
    expect(title).to_have_text(name)
    expect(page.locator("#status .fraction")).to_have_text("0 / 2")
    expect(page).to_have_url(f"{site.url}/?batch=1")
    page.get_by_role("button", name="Refresh").click()
    expect(page.locator("tr[aria-current=true]")).to_contain_text(name)
    page.go_back()
    expect(title).to_have_text("second.csv")
    assert page.locator("main img").count() == 0


def test_the_page_polls_when_stream_slots_are_used_up(browser, processes):
    site = processes("app.py", server__max_streams=1).site()
    batch_id = site.upload(csv_of("a@x.de")).json["batchId"]
    page = browser.new_context().new_page()
    with site.stream(batch_id) as stream:
        next(stream.events())
        page.goto(f"{site.url}/?batch={batch_id}")
        connection = page.locator("#status [data-field=connection]")
        expect(connection).to_have_text("updates every 2 seconds")
        processes("worker.py")
        expect(page.locator("#status [data-field=status]")).to_have_text("completed")
        expect(connection).to_have_text("")
    page.context.close()


def test_the_page_reconnects_when_the_app_comes_back(browser, processes):
    app = processes("app.py")
    site = app.site()
    batch_id = site.upload(csv_of("a@x.de")).json["batchId"]
    page = browser.new_context().new_page()
    page.goto(f"{site.url}/?batch={batch_id}")
    connection = page.locator("#status [data-field=connection]")
    expect(connection).to_have_text("live")
    app.stop(signal.SIGKILL)
    expect(connection).not_to_have_text("live")
    processes("app.py", "--port", str(site.port)).site()
    processes("worker.py")
    expect(page.locator("#status [data-field=status]")).to_have_text("completed", timeout=40_000)
    page.context.close()


@pytest.fixture
def here(client, monkeypatch):
    """The announcement of a worker that stays alive for the length of a test, however slow."""
    monkeypatch.setattr(presence, "EXPIRE_SECONDS", 600)
    return Presence(client, "email-queue")


STRIP = ("level", "workers", "rate", "queue", "oldest", "database", "redis")


def strip(page):
    return [page.locator(f"#health [data-field={name}]").inner_text() for name in STRIP]


def test_the_strip_shows_a_live_worker_and_goes_red_when_it_is_gone(page, site, here):
    here.announce([ThreadReport(1), ThreadReport(2, 7, 1, 0.5)], rate=96_000.4)
    page.goto(site.url)
    health, notice = page.locator("#health"), page.locator("#notice")
    before = strip(page)
    assert before == ["OK", "1 worker, 2 threads", "96,000 emails/s", "0 in the queue",
                      "nothing waits", "PostgreSQL ok", "Redis ok"]  # fmt: skip
    expect(notice).to_be_hidden()
    site.upload(csv_of("a@x.de"))
    refresh = page.get_by_role("button", name="Refresh")
    refresh.click()
    expect(health).to_contain_text("oldest waiting: batch 1 for")
    expect(health).to_have_attribute("data-level", "ok")
    here.withdraw()
    refresh.click()
    expect(health).to_have_attribute("data-level", "error")
    expect(health.get_by_role("status")).to_have_text("No worker is running, so batches wait.")
    expect(notice).to_contain_text(f" ago on {here._host}:{here._pid}.")
    expect(notice.locator("code")).to_have_text("python worker.py --threads 4")
    assert strip(page)[:4] == ["Problem", "no worker", "0 emails/s", "1 in the queue"]
    notice.locator("code").click()
    assert page.evaluate("getSelection().toString()") == "python worker.py --threads 4"
    here.announce([ThreadReport(1)], rate=0.0)
    refresh.click()
    expect(notice).to_be_hidden()
    expect(health).to_have_attribute("data-level", "ok")


def texts(page):
    """What the strip and the notice say, but for the seconds that pass."""
    return page.locator("#health").evaluate(
        r"""health => [...health.querySelectorAll("[data-field]")].map(
            (each) => each.textContent.replace(/\d+ (s|min)\b/, "…"))"""
    )


@pytest.mark.parametrize("state", ["alive", "gone", "never", "under way", "no redis"])
def test_server_and_script_say_the_same(page, serve, here, no_redis, state):
    site = serve(no_redis) if state == "no redis" else serve()
    if state in ("alive", "gone"):
        here.announce([ThreadReport(number) for number in range(1200)], rate=1_234_567.9)
    if state == "gone":
        here.withdraw()
    uploaded = site.upload(csv_of("a@x.de")).json
    if state == "under way":
        start(uploaded["batchId"])
    page.goto(site.url)
    rendered, level = texts(page), page.locator("#health").get_attribute("data-level")
    page.locator("#health").evaluate(
        """health => {
            health.dataset.level = "";
            for (const each of health.querySelectorAll("[data-field]")) each.textContent = "stale";
        }"""
    )
    page.get_by_role("button", name="Refresh").click()
    expect(page.locator("#health")).to_have_attribute("data-level", level)
    assert texts(page) == rendered


def test_the_strip_says_that_the_database_is_away_until_it_is_back(
    browser, serve, here, monkeypatch, tmp_path
):
    here.announce([ThreadReport(1)], rate=0.0)
    page = browser.new_context().new_page()
    page.goto(serve().url)
    health, refresh = page.locator("#health"), page.get_by_role("button", name="Refresh")
    with monkeypatch.context() as away:
        pool.close_idle()
        away.setitem(pool.connect_params, "host", str(tmp_path))
        refresh.click()
        expect(health).to_have_attribute("data-level", "error")
        expect(health.get_by_role("status")).to_contain_text("The database can't be reached.")
        expect(health).to_contain_text("PostgreSQL unreachable")
        expect(health.locator("code")).to_be_hidden()
    refresh.click()
    expect(health).to_have_attribute("data-level", "ok")
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1100])
def test_the_strip_fits_and_holds_still_while_its_numbers_run(browser, site, here, width, scheme):
    site.upload(csv_of("a@x.de"))
    context = browser.new_context(
        viewport={"width": width, "height": 740}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    places = []
    for threads, rate in ((1, 0.0), (8, 96_000.0), (128, 1_234_567.0)):
        here.announce([ThreadReport(number) for number in range(threads)], rate)
        page.goto(site.url)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        places.append(
            page.locator("#health").evaluate(
                """health => [...health.querySelectorAll("li"), health].map((each) => {
                    const { left, top, height } = each.getBoundingClientRect();
                    return [left, top, height];
                })"""
            )
        )
    assert places[0] == places[1] == places[2]
    here.withdraw()
    page.goto(site.url)
    expect(page.locator("#notice")).to_contain_text("python worker.py --threads 4")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


def test_it_fits_a_phone_and_works_by_keyboard(browser, site):
    site.upload(csv_of("a@x.de"), filename=f"{'a-very-long-name' * 8}.csv")
    context = browser.new_context(viewport={"width": 360, "height": 740}, color_scheme="dark")
    page = context.new_page()
    page.goto(site.url)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    reached = set()
    for _ in range(8):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"file", "refresh", "BUTTON", "A"} <= reached
    context.close()
