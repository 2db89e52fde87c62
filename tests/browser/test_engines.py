"""The pages in Chromium, Firefox and WebKit: an upload from beginning to end, and interruptions."""

import shutil
import signal
from urllib.parse import urlsplit

import pytest

from harness.batches import ADDRESSES, completed, store
from harness.browsing import list_of
from harness.config import changed
from processors import one_by_one
from web import pages

PROCESSED = "Number(document.querySelector('#status').dataset.processed)"

# Keeps all that the page says of its connection, however briefly.
NOTE_CONNECTION = """(() => {
    const connection = document.querySelector("#status [data-field=connection]");
    window.said = [];
    const note = () => window.said.push(connection.textContent);
    new MutationObserver(note).observe(connection, { childList: true });
})()"""


def has_connection(words):
    return f"document.querySelector('#status [data-field=connection]').textContent === '{words}'"


def has_status(status):
    return f"document.querySelector('#status[data-status={status}]')"


def is_whole(tab):
    """Wait until all emails are processed, as the bar says."""
    tab.until("document.querySelector('#bar').ariaValueNow === '100'", seconds=90)
    tab.until(has_status("completed"))


def cancel(site, batch_id):
    assert site.request("POST", f"/api/batches/{batch_id}/cancel").status == 200


def open_batch(tab, site, batch_id):
    tab.goto(f"{site.url}/batches/{batch_id}")
    tab.until(has_connection("live"))


class TestWholePath:
    def test_a_list_is_uploaded_processed_filtered_and_retried(
        self, open_tab, site, processes, slow, tmp_path
    ):
        path = tmp_path / "people.csv"
        path.write_bytes(list_of(300))  # 15 of them are bad
        tab = open_tab()
        tab.goto(site.url)
        tab.choose("#file", path)
        tab.until("document.querySelector('#preview').hidden === false")
        tab.click("#upload [type=submit]")
        tab.until("location.pathname.startsWith('/batches/')")
        tab.until(has_connection("live"))
        worker = processes("worker.py", **slow)
        is_whole(tab)
        tab.until(has_connection(""))
        tab.click("a[data-filter][href*='verdict=invalid']")
        rows = "[...document.querySelectorAll('#rows tbody tr')]"
        tab.until(f"{rows}.length > 0 && {rows}.every((row) => row.textContent.includes('bad'))")
        links = "[...document.querySelectorAll('#status a[href*=\"/results.\"]')]"
        for address in tab.run(f"{links}.map((link) => link.href)"):
            assert site.get(urlsplit(address).path).status == 200
        batch_id = tab.run("location.pathname").rpartition("/")[2]
        worker.stop()
        assert site.request("POST", f"/api/batches/{batch_id}/retry?which=failed").status == 200
        tab.until(f"{PROCESSED} === 285")
        cancel(site, batch_id)
        assert site.request("DELETE", f"/api/batches/{batch_id}").status == 204
        tab.until(has_status("deleted"))

    def test_is_dark_and_fits_a_phone(self, open_tab, serve):
        site = serve()
        tab = open_tab()
        tab.resize(360, 740)
        for path in ("/", f"/batches/{completed()}"):
            tab.goto(site.url + path)
            assert tab.run("innerWidth") == 360
            assert tab.run("document.documentElement.scrollWidth") <= 360
            assert max(background(tab)) < 64


def background(tab):
    """Return red, green and blue of the page's background, each up to 255."""
    return tab.run(
        """(() => {
            const pen = new OffscreenCanvas(1, 1).getContext("2d");
            pen.fillStyle = getComputedStyle(document.body).backgroundColor;
            pen.fillRect(0, 0, 1, 1);
            return [...pen.getImageData(0, 0, 1, 1).data.slice(0, 3)];
        })()"""
    )


class TestInterruptions:
    def test_a_tab_goes_on_when_another_of_the_same_batch_is_closed(
        self, open_tab, serve, make_turns, queue
    ):
        site = serve()
        turns = make_turns(one_by_one(lambda _: None))
        batch_id = store(*ADDRESSES, chunk_size=5).batch_id
        queue.enqueue(batch_id)
        first, second = open_tab(), open_tab()
        for tab in (first, second):
            open_batch(tab, site, batch_id)
        assert turns.run_once()
        for tab in (first, second):
            tab.until(has_status("processing"))
        second.close()
        assert turns.run_once()
        is_whole(first)

    def test_the_page_says_that_the_worker_is_gone_and_goes_on_with_another(
        self, open_tab, serve, processes, slow
    ):
        site = serve()
        batch_id = site.upload(list_of(10_000)).json["batchId"]
        tab = open_tab()
        open_batch(tab, site, batch_id)
        worker = processes("worker.py", **slow)
        tab.until(f"{PROCESSED} > 0")
        worker.stop()
        tab.until("document.querySelector('#health[data-level=error]')")
        assert "No worker" in tab.run("document.querySelector('#notice').textContent")
        assert tab.run(PROCESSED) < 10_000
        processes("worker.py")
        is_whole(tab)

    def test_the_page_says_that_the_app_is_gone_and_is_live_again_with_another(
        self, open_tab, processes
    ):
        app = processes("app.py")
        site = app.site()
        batch_id = site.upload(list_of(10)).json["batchId"]
        tab = open_tab()
        open_batch(tab, site, batch_id)
        app.stop(signal.SIGKILL)
        tab.until(has_connection("reconnecting…"))
        processes("app.py", "--port", str(site.port))
        tab.until(has_connection("live"))
        processes("worker.py")
        is_whole(tab)

    def test_a_page_that_is_gone_back_to_is_live(self, open_tab, serve):
        site = serve()
        batch_id = site.upload(list_of(10)).json["batchId"]
        tab = open_tab()
        open_batch(tab, site, batch_id)
        tab.goto(site.url)
        tab.run("history.back()")
        tab.until(f"location.pathname !== '/' && {has_connection('live')}")
        cancel(site, batch_id)
        tab.until(has_status("cancelled"))


class TestSharedWorker:
    @pytest.fixture
    def live(self, tmp_path, monkeypatch):
        """The folder of the scripts for the stream, whose files a test may change."""
        folder = tmp_path / "static"
        shutil.copytree(pages.STATIC, folder)
        monkeypatch.setattr(pages, "STATIC", folder)
        return folder / "js" / "live"

    def test_tabs_go_on_by_themselves_when_it_is_gone(self, open_tab, live, serve):
        with (live / "shared.js").open("a") as script:
            script.write('new BroadcastChannel("end").onmessage = () => close();\n')
        site = serve()
        batch_id = site.upload(list_of(10)).json["batchId"]
        tabs = open_tab(), open_tab()
        for tab in tabs:
            open_batch(tab, site, batch_id)
            tab.run(NOTE_CONNECTION)
        tabs[0].run("new BroadcastChannel('end').postMessage('')")
        for tab in tabs:
            tab.until(f"window.said.includes('reconnecting…') && {has_connection('live')}")
        cancel(site, batch_id)
        for tab in tabs:
            tab.until(has_status("cancelled"))

    @pytest.mark.parametrize("engine", ["webkit"], indirect=True)
    def test_goes_on_when_webkit_starts_it_anew(self, engine, open_tab, live, serve):
        """With the ports of the open tabs; elsewhere, a shared worker that ends is gone."""
        with (live / "shared.js").open("a") as script:
            script.write('new BroadcastChannel("start").postMessage("");\n')
        # No tab goes on by itself.
        script = live / "live.js"
        script.write_text(changed(script.read_text(), {"SILENT_TICKS = 6": "SILENT_TICKS = 600"}))
        site = serve()
        batch_id = site.upload(list_of(10)).json["batchId"]
        tab = open_tab()
        open_batch(tab, site, batch_id)
        tab.run("new BroadcastChannel('start').onmessage = () => (window.isNew = true)")
        engine.kill_first_process()
        tab.until("window.isNew")
        cancel(site, batch_id)
        tab.until(has_status("cancelled"))
