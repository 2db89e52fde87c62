"""Use the pages in Chromium as people do, and check what they see."""

from playwright.sync_api import expect

from harness.files import csv_of

# What the browser writes to its console when the server answers with an error, or not at all.
REFUSED = r"Failed to load resource: the server responded with a status of 422"
AWAY = r"net::ERR_|responded with a status of 503"


def list_of(count):
    return csv_of("email", *(f"user{n}@example.com" if n % 20 else f"bad{n}" for n in range(count)))


def choose(page, content, name="people.csv"):
    choose_all(page, {name: content})


def choose_all(page, contents):
    """Choose files, given as their contents by name."""
    files = [
        {"name": name, "mimeType": "text/csv", "buffer": content}
        for name, content in contents.items()
    ]
    page.set_input_files("#file", files)


def upload(page, site, content, name="people.csv"):
    """Choose the file on the home page, upload it after the preview, wait for its batch's page."""
    page.goto(site.url)
    choose(page, content, name)
    expect(page.locator("#preview")).to_be_visible()
    page.get_by_role("button", name="Upload & process").click()
    page.wait_for_url("**/batches/*")


def field(page, name, root="#status"):
    return page.locator(f"{root} [data-field={name}]")


def await_completed(page, seconds=40):
    expect(field(page, "status")).to_have_text("completed", timeout=seconds * 1000)


def await_worker(page, site):
    """Wait until the pages know of a worker, so that none begins with a notice that vanishes."""
    page.goto(site.url)
    expect(page.locator("#health")).to_have_attribute("data-level", "ok")


def is_live(page, root="#status"):
    expect(field(page, "connection", root)).to_have_text("live")


def press(page, key, until, most=60):
    """Press the key until an element with this name has the focus."""
    name = None
    for _ in range(most):
        page.keyboard.press(key)
        name = page.evaluate(
            "(document.activeElement.ariaLabel || document.activeElement.labels?.[0]?.textContent"
            " || document.activeElement.textContent || '').trim()"
        )
        if name.startswith(until):
            return
    raise AssertionError(f"{until!r} can't be reached; last was {name!r}")


# A script that records what moves on the page by itself, for assert_nothing_moved().
WATCH_SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => {
    const place = ({ x, y, width, height }) => [x, y, width, height].map(Math.round).join(" ");
    for (const { hadRecentInput, value, sources } of list.getEntries()) {
        const moved = sources.map(({ node, previousRect, currentRect }) =>
            `${node?.outerHTML?.slice(0, 60)}: ${place(previousRect)} to ${place(currentRect)}`);
        if (!hadRecentInput) window.shifts.push({ value, moved });
    }
}).observe({ type: "layout-shift", buffered: true });
"""


def assert_nothing_moved(page):
    """Assert a layout shift below 0.01; people begin to be disturbed at 0.1."""
    shifts = page.evaluate("window.shifts")
    large = [shift["moved"] for shift in shifts if shift["value"] > 0.001]
    assert sum(shift["value"] for shift in shifts) < 0.01, large
