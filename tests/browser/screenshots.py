"""Takes the pictures in docs/: each page and its states, in Chromium, over the real processes."""

from __future__ import annotations

import random
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[number]) for number in (2, 1)]

from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from harness import chromium
from harness.browsing import await_completed, choose, choose_all, field, is_live
from harness.config import ROOT, copy_project, write_config
from harness.polling import eventually
from harness.processes import Running
from harness.site import Site

DOCS = ROOT / "docs"
DESK: ViewportSize = {"width": 1200, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}

# A team's own processor that takes its time, so that a batch can be seen on its way.
SLOW = """
import time
from processors import configured, later
from processors.check import Check

@configured
def check(section):
    fast = Check()
    def slow(addresses):
        for number, address in enumerate(addresses):
            if number % 10 == 0:
                time.sleep(0.005)
            if address.endswith("@slow.example.net"):
                yield later("dns_timeout", 3600)
            else:
                yield fast.check_one(address)
    return slow
"""

# A second processor, which takes a column, has options and gives answers.
CRM = """
from processors import Option, answered, configured, failed, per_item, takes_columns

@takes_columns("Name")
@configured(
    Option("list", choices=("news", "events"), default="news", per_batch=True,
           about="The list that people join."),
    Option("days", int, 30, per_batch=True, about="How long they stay on it."),
    Option("welcome", bool, True, per_batch=True, about="Whether they get a letter."),
)
def add(options):
    @per_item
    def add_one(item):
        if "@" not in item.address:
            return failed("no_at_sign")
        number = item.cells["Name"].split()[-1]
        return answered(customer=f"K-{number}", list=item.options["list"], owner="Sales",
                        days=item.options["days"], city=item.cells.get("Stadt", ""))
    return add_one
"""


def people(number: int) -> bytes:
    """A file as people have them: semicolons, umlauts, and all that can be wrong."""
    drawn = random.Random(7)
    kinds = {
        "anna{}@gmial.com": 2, "ben{}@hotmial.com": 1, "info@firma{}.de": 2, "kim{}.firma.de": 3,
        "lee{}@mailinator.com": 1, "zoe@firma.de": 2, "": 1, "person{}@firma{}.de": 88,
    }  # fmt: skip
    lines = ["Name;E-Mail;Stadt"]
    for n in range(number):
        address = drawn.choices([*kinds], [*kinds.values()])[0].format(n, n % 90)
        lines.append(f"Jörg {n};{address};Köln" if drawn.random() < 0.99 else "")
    return "\r\n".join(lines).encode("cp1252")


class Studio:
    """An app with servers of its own, and a browser in front of it."""

    def __init__(self, browser: Browser, site: Site) -> None:
        self._browser = browser
        self.site = site

    @contextmanager
    def page(
        self, path: str, viewport: ViewportSize = DESK, scheme: str = "light"
    ) -> Iterator[Page]:
        context = self._browser.new_context(
            viewport=viewport,
            color_scheme="dark" if scheme == "dark" else "light",
            locale="en-GB",
        )
        page = context.new_page()
        page.goto(self.site.url + path)
        yield page
        context.close()

    def take(self, name: str, page: Page, *, whole: bool = False) -> None:
        page.screenshot(path=DOCS / f"{name}.png", full_page=whole)
        print(f"docs/{name}.png", flush=True)  # noqa: T201

    def take_all(self, app: Running, start_worker: Callable[[], Running]) -> None:
        """All pictures, in the order of what happens."""
        self._take_upload()
        for name in ("spring.csv", "people.csv", "autumn.csv"):
            assert self.site.upload(people(40_000), filename=name).status == 201
        with self.page("/batches/2") as page:
            expect(page.locator("#notice")).to_be_visible()
            self.take("waiting", page)
        assert self.site.request("POST", "/api/batches/3/cancel").status == 200
        with self.page("/batches/3") as page:
            self.take("cancelled", page)
        with self.page("/batches/77") as page:
            self.take("not-found", page)
        worker = start_worker()
        self._take_processing()
        self._take_completed()
        for scheme in ("light", "dark"):
            with self.page("/batches/2", PHONE, scheme) as page:
                expect(page.locator("#typos")).to_be_visible()
                self.take(f"phone-{scheme}", page)
        worker.stop()
        with self.page("/") as page:
            is_live(page, "#recent")
            app.stop()
            expect(page.locator("#notice")).to_contain_text("The server can't be reached.")
            self.take("reconnecting", page)

    def _take_upload(self) -> None:
        with self.page("/") as page:
            self.take("home-empty", page)
            choose(page, people(40_000))
            expect(page.locator("#preview")).to_be_visible()
            self.take("preview", page, whole=True)
            network = page.context.new_cdp_session(page)
            slow = {"offline": False, "latency": 0, "downloadThroughput": -1}
            network.send("Network.emulateNetworkConditions", slow | {"uploadThroughput": 1e5})
            page.get_by_role("button", name="Upload & process").click()
            expect(page.locator("#upload-state")).to_contain_text("left")
            self.take("uploading", page, whole=True)
            page.get_by_role("button", name="Cancel").click()
            network.send("Network.emulateNetworkConditions", slow | {"uploadThroughput": -1})
            choose(page, b"Name;City\nAnna;Paris\nBob;Bonn\n", "people.csv")
            expect(page.locator("#headline")).to_have_text("No address found")
            self.take("no-address", page)
            choose_all(page, {f"{name}.csv": people(500) for name in ("spring", "autumn")})
            expect(page.locator("#files li")).to_have_count(2)
            self.take("several-files", page)
            choose(page, b'a\n"' + b"b" * 150_000, "wrong.csv")
            expect(page.locator("#upload-error")).to_be_visible()
            self.take("refused", page)

    def _take_processing(self) -> None:
        with self.page("/batches/2") as page, self.page("/", scheme="dark") as home:
            expect(page.locator("#chart")).not_to_have_attribute("data-empty", "", timeout=60_000)
            expect(field(page, "percent")).to_have_text(re.compile(r"[4-9]\d%"), timeout=90_000)
            self.take("running", page)
            self.take("home-dark", home)
        for path, name in (("/batches/2", "phone-running"), ("/", "phone-home")):
            with self.page(path, PHONE) as page:
                is_live(page, "#recent" if path == "/" else "#status")
                self.take(name, page)

        self._set_rate("600")
        with self.page("/batches/2") as page:
            expect(field(page, "rate")).to_have_text(re.compile(r"^\d{1,2}/s$"), timeout=60_000)
            page.locator(".limit summary").click()
            self.take("rate", page)
        self._set_rate("")
        assert self.site.request("POST", "/api/batches/2/pause").status == 200
        with self.page("/batches/2") as page:
            expect(page.locator(".paused")).to_be_visible()
            self.take("paused", page)
        assert self.site.request("POST", "/api/batches/2/resume").status == 200
        domains = (b"slow.example.net", b"x.de", b"x.de")
        slow = b"".join(b"%d@%s\n" % (n, domains[n % 3]) for n in range(60))
        batch_id = self.site.upload(slow, filename="waits.txt").json["batchId"]
        with self.page(f"/batches/{batch_id}") as page:
            expect(page.get_by_role("button", name="Finish now")).to_be_visible(timeout=60_000)
            expect(page.locator("#rows tbody")).to_contain_text("ok")
            self.take("put-off", page)

    def take_several(self) -> None:
        """The pictures of what there is with several processors."""
        with self.page("/") as page:
            expect(page.locator("#health")).to_have_attribute("data-level", "ok")
            choice = page.get_by_role("combobox", name="Processor", exact=True)
            choice.select_option("crm")
            page.locator("[name='option.crm.list']").select_option("events")
            choose(page, people(60))
            expect(page.locator("#preview")).to_be_visible()
            page.locator(".ticks").get_by_label("Stadt").check()
            self.take("processors", page)
            page.get_by_role("button", name="Upload & process").click()
            page.wait_for_url("**/batches/*")
            await_completed(page)
            page.reload()
            page.get_by_text("More answers").first.click()
            self.take("answers", page)
            page.get_by_text("Process again with…").click()
            self.take("again", page)

    def _set_rate(self, per_minute: str) -> None:
        path = f"/api/batches/2/rate?per_minute={per_minute}"
        assert self.site.request("POST", path).status == 200

    def _take_completed(self) -> None:
        with self.page("/batches/2") as page:
            await_completed(page, seconds=90)
            page.reload()
            expect(page.locator("#typos")).to_be_visible()
            self.take("completed", page)
            page.get_by_label("Other downloads").click()
            self.take("downloads", page)
            page.keyboard.press("Escape")
            page.get_by_role("link", name="risky").click()
            expect(page.locator("#rows tbody tr")).to_have_count(50)
            for number in range(2):
                page.locator("#rows .pick input").nth(number + 3).check()
            self.take("filtered", page)
            page.get_by_label("Address contains").fill("nobody")
            page.get_by_role("button", name="Search").click()
            expect(page.locator("#no-rows")).to_be_visible()
            page.evaluate("scrollTo(0, 0)")
            self.take("no-matches", page)
            page.get_by_role("button", name="Delete…").click()
            self.take("question", page)


def main() -> None:
    if chromium.executable() is None:
        sys.exit(chromium.MISSING)
    folder = Path(tempfile.mkdtemp(prefix="email-batch-"))
    folder.chmod(0o755)  # if root starts PostgreSQL, its user must reach .venv
    # A copy of the project, so that the pictures show its commands as they are in an installation.
    copy, slow, several = (folder / name for name in ("project", "slow", "several"))
    copy_project(copy)
    slow.mkdir()
    several.mkdir()
    (copy / ".venv").symlink_to(Path(sys.executable).parent.parent)
    (slow / "slowly.py").write_text(SLOW)
    servers = {"server__port": 0, "embedded__folder": folder / "var"}
    write_config(copy, **servers)
    config = write_config(
        slow, worker__processor="slowly:check", worker__turn_seconds=0.2, **servers
    )
    (several / "crm.py").write_text(CRM)
    both = {"check": "check Check addresses", "crm": "crm:add Add to our CRM"}
    offers = {f"processors__{name}": line for name, line in both.items()}
    several_config = write_config(several, **offers, **servers)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)

        def start(script: str, *arguments: str) -> Running:
            running = Running([copy / ".venv/bin/python", script, *arguments], cwd=copy)
            stack.callback(running.stop)
            return running

        playwright = stack.enter_context(sync_playwright())
        browser = chromium.launch(playwright)
        stack.callback(browser.close)

        def open_studio(app: Running) -> Studio:
            studio = Studio(browser, Site(app.await_line(r"serving url=(\S+)")[1]))
            eventually(lambda: studio.site.get("/api/health").status == 200, 60)
            return studio

        app = start("app.py")
        open_studio(app).take_all(app, lambda: start("worker.py", "--config", str(config)))
        studio = open_studio(start("app.py", "--config", str(several_config)))
        start("worker.py", "--config", str(several_config))
        studio.take_several()


if __name__ == "__main__":
    main()
