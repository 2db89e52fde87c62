"""Files that are dragged over the home page, in Chromium and as WebKit tells of it."""

import pytest
from playwright.sync_api import expect

# Sends an event of a drag to an element, as a browser does while it shows `types`. Returns whether
# the page has told the browser not to act by itself, and whether it shows the zone then; soon after
# the last event it doesn't, however late the test would look.
SEND = """([kind, types, where, leavesFor]) => {
    const files = kind === "drop" ? [new File(["a@x.de\\nb@x.de\\n"], "dropped.csv")] : [];
    const event = new DragEvent(kind, {
        bubbles: true, cancelable: true,
        relatedTarget: leavesFor && document.querySelector(leavesFor),
    });
    Object.defineProperty(event, "dataTransfer", { value: { types, files, dropEffect: "copy" } });
    document.querySelector(where).dispatchEvent(event);
    return [event.defaultPrevented, !document.querySelector("#dropzone").hidden];
}"""
# Drags over two elements in turn for a second, and returns how many times the zone was hidden, and
# whether it is shown then. WebKit doesn't say for what the pointer leaves an element, and has no
# types before the drop.
WANDER = """async () => {
    const zone = document.querySelector("#dropzone");
    let hidden = 0;
    new MutationObserver(() => (hidden += zone.hidden)).observe(zone, { attributes: true });
    const parts = [document.querySelector("#recent"), document.querySelector("#upload")];
    const tell = (kind, part) => {
        const event = new DragEvent(kind, { bubbles: true, cancelable: true });
        const types = { length: 0 };
        Object.defineProperty(event, "dataTransfer", { value: { types, dropEffect: "copy" } });
        part.dispatchEvent(event);
    };
    for (let step = 0; step < 20; step += 1) {
        tell("dragenter", parts[step % 2]);
        tell("dragleave", parts[(step + 1) % 2]);
        tell("dragover", parts[step % 2]);
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return [hidden, !zone.hidden];
}"""


@pytest.fixture
def drag(page, site):
    page.goto(site.url)
    expect(page.locator("#upload")).to_have_attribute("data-live", "")

    def send(kind, *types, where="#recent", leaves_for=None):
        """Send an event; return whether the page stopped the browser, and shows the zone."""
        return page.evaluate(SEND, [kind, types, where, leaves_for])

    return send


@pytest.fixture
def zone(page):
    return page.locator("#dropzone")


@pytest.mark.parametrize("types", [("Files",), ("text/uri-list", "Files"), ()])
def test_a_file_can_be_dropped_anywhere(page, drag, zone, types):
    assert drag("dragenter", *types) == [True, True]
    assert drag("dragover", *types) == [True, True]
    assert drag("drop", "Files") == [True, False]
    expect(zone).to_be_hidden()
    expect(page.locator("#chosen")).to_contain_text("dropped.csv")
    expect(page.locator("#preview tbody tr")).to_have_count(2)


def test_the_zone_stays_while_a_file_is_dragged_and_no_longer(page, drag, zone):
    assert page.evaluate(WANDER) == [0, True]
    expect(zone).to_be_hidden()  # because no sign of the drag comes any more


@pytest.mark.parametrize("end", ["dragend", "drop", "Escape", "dragleave"])
def test_the_zone_ends_with_the_drag(page, drag, zone, end):
    drag("dragenter", "Files")
    _, is_shown = drag("dragleave", "Files", leaves_for="#upload")
    assert is_shown
    if end == "Escape":
        page.keyboard.press("Escape")
    else:
        drag(end, "Files")
    expect(zone).to_be_hidden()


@pytest.mark.parametrize("types", [("text/plain",), ("text/uri-list", "text/html")])
def test_texts_and_links_are_left_to_the_browser(drag, zone, types):
    for kind in ("dragenter", "dragover", "drop"):
        assert drag(kind, *types) == [False, False]
        expect(zone).to_be_hidden()


def test_so_is_what_is_dragged_from_the_page_itself(drag, zone):
    drag("dragstart", "Files", "text/html", where=".brand img")
    assert drag("dragover", "Files", "text/html") == [False, False]
    drag("dragend", where=".brand img")
    assert drag("dragover", "Files") == [True, True]


def test_nothing_is_taken_during_an_upload(page, drag):
    """The browser must not open the file either, which would break the upload off."""
    drag("drop", "Files")
    page.route("**/api/upload", lambda _: None)  # which is never answered
    page.get_by_role("button", name="Upload & process").click()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    assert drag("dragover", "Files") == [True, False]
    assert drag("drop", "Files") == [True, False]
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
