import os
import re
import sys
import threading
from pathlib import Path

import jsonschema_rs
import pytest

from app import routes
from harness.config import ROOT
from harness.files import csv_of
from harness.polling import eventually
from harness.processes import run_to_end
from harness.site import ALICE, PASSWORD, sign_in
from relay.hub import Hub
from web import openapi
from web.access import sign_in as access
from web.access import users
from web.access.sign_in import Access
from web.services import Services

DOCUMENT = openapi.document(by_password=False)


def test_it_has_exactly_the_addresses_and_methods_that_are_served(make_settings, doorbell):
    settings = make_settings()
    hub = Hub(doorbell, settings.redis.channel_prefix)
    services = Services(settings, Access(settings), doorbell, hub, threading.Event())
    served = {
        (route.method.lower(), re.sub("<batch_id:int>", "{batchId}", route.rule))
        for route in routes(services).routes
        if route.rule.startswith("/api/")
    }
    described = {(method, path) for path, item in DOCUMENT["paths"].items() for method in item}
    assert described == served


def assert_as_described(response, method, path):
    operation = DOCUMENT["paths"][path][method]
    media = operation["responses"][str(response.status)]["content"]
    schema = media[response.headers["Content-Type"].partition(";")[0]]["schema"]
    jsonschema_rs.validate({**schema, "components": DOCUMENT["components"]}, response.json)


def test_answers_are_as_it_says(site, processes):
    content = csv_of("Address", "a@gmial.com", "b", "", "a@gmial.com", "info@gmail.com")
    assert_as_described(site.upload(content), "post", "/api/upload")
    assert_as_described(site.upload(content, path="/api/preview"), "post", "/api/preview")
    assert_as_described(site.get("/api/batches/1"), "get", "/api/batches/{batchId}")
    assert_as_described(site.get("/api/batches/1/emails"), "get", "/api/batches/{batchId}/emails")
    processes("worker.py")
    eventually(lambda: site.get("/api/batches/1").json["status"] == "completed")
    retry = "/api/batches/{batchId}/retry"
    assert_as_described(site.request("POST", "/api/batches/1/retry?which=failed"), "post", retry)
    assert_as_described(site.request("POST", "/api/batches/1/retry"), "post", retry)
    for name in ("", "/emails", "/rows", "/typos"):
        path = "/api/batches/{batchId}" + name
        assert_as_described(site.get(f"/api/batches/1{name}"), "get", path)
        assert_as_described(site.get(f"/api/batches/9{name}"), "get", path)
    assert_as_described(site.get("/api/batches?limit=0"), "get", "/api/batches")
    assert_as_described(site.get("/api/batches"), "get", "/api/batches")
    assert_as_described(site.get("/api/health"), "get", "/api/health")
    assert_as_described(site.get("/api/openapi.json"), "get", "/api/openapi.json")
    assert site.get("/api/openapi.json").json == DOCUMENT


def test_it_asks_for_a_password_only_where_users_sign_in(tmp_path, serve, monkeypatch):
    monkeypatch.setattr(users, "_N", 2)
    assert serve().get("/api/openapi.json").json["security"] == []
    users.add(tmp_path / "users", "alice", PASSWORD)
    document = sign_in(serve(), ALICE).get("/api/openapi.json").json
    assert document["security"] == [{"basic": []}]
    assert "basic" in document["components"]["securitySchemes"]


@pytest.mark.timeout(420)  # it sends thousands of requests
def test_a_program_that_knows_only_this_finds_nothing_wrong(
    tmp_path, serve, processes, monkeypatch
):
    """Schemathesis sends what the document allows and what it forbids, and checks each answer."""
    monkeypatch.setattr(users, "_N", 2)
    # It tries wrong passwords too.
    monkeypatch.setattr(access, "FREE_ATTEMPTS", 10**6)
    users.add(tmp_path / "users", "alice", PASSWORD)
    site = serve()
    processes("worker.py")
    for number in range(3):
        assert sign_in(site, ALICE).upload(csv_of(f"{number}@x.de", "nothing")).status == 201
    done = run_to_end(
        Path(sys.executable).with_name("schemathesis"),
        *("--config-file", ROOT / "tests/web/schemathesis.toml", "--no-color", "run"),
        *(f"{site.url}/api/openapi.json", "--header", f"Authorization: {ALICE}"),
        *("--checks", "all", "--max-examples", "20", "--request-timeout", "20"),
        *("--suppress-health-check", "all", "--generation-database", "none"),
        # What it tries is the same each time; SEED tries something else.
        *("--seed", os.environ.get("SEED", "1")),
        folder=tmp_path,
        seconds=400,
    )
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2_000:]
    assert re.search(r"(\d{3,}) generated", done.stdout), done.stdout[-3_000:]
    assert "Tested: 20" in done.stdout, done.stdout[-3_000:]
