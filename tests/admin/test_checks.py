"""What manage.py check finds of servers that are as they should be, and of those that are not."""

import fcntl
import json
import re
import sys

import pytest

from admin import checks, processor_checks
from admin.diagnostics import OK, PROBLEM, WARNING
from harness import nsd
from harness import servers as own
from harness.books import query
from harness.config import ROOT, write_config
from harness.nameserver import WORLD, Nameserver
from harness.polling import eventually
from harness.processes import run_to_end
from harness.servers import RIGHTS
from harness.site import PASSWORD
from postgres.database import init
from postgres.schema import NEWEST
from processors.domains import trial
from relay.presence import Ability, Presence, ThreadReport
from runtime.settings import load
from web.access import users


@pytest.fixture
def findings(servers, database, client, tmp_path):
    """Everything that is found with changed settings."""

    def find(urls=None, **changes):
        settings = load(write_config(tmp_path, **changes), environ=urls or servers.environment)
        told = list(checks.run(settings))
        init(servers.database_url, connections=30)  # as the other tests have it
        return told

    return find


@pytest.fixture
def found(findings):
    """Everything that is found with changed settings, by part; the last of each."""

    def find(urls=None, **changes):
        return {finding.part: finding for finding in findings(urls, **changes)}

    return find


def test_all_is_well(document, client):
    def told_all_well():
        # Again each time: the command may start so slowly that the worker counts as gone.
        Presence(client, "email-queue").announce([ThreadReport(1)], 0.0)
        status, told = document("check")
        well = {finding["level"] for finding in told["findings"]} == {OK}
        return status == 0 and well and told

    told = eventually(told_all_well, 60)
    assert [finding["part"] for finding in told["findings"]] == [
        *("configuration", "access", "program", "Python", "disk", "processor", "DNS"),
        *("PostgreSQL", "clock", "tables", "connections", "Redis", "clock", "workers"),
    ]


def test_servers_that_are_away_are_problems_and_the_rest_is_looked_at(document, tmp_path):
    away = {
        "DATABASE_URL": f"postgresql://x:secret@/x?host={tmp_path}",
        "REDIS_URL": f"unix://{tmp_path}/nobody.sock",
    }
    status, told = document("check", **away)
    assert status == 1
    levels = {finding["part"]: finding["level"] for finding in told["findings"]}
    assert (levels["PostgreSQL"], levels["Redis"], levels["Python"]) == (PROBLEM, PROBLEM, OK)
    assert "secret" not in json.dumps(told)


def test_a_bundled_server_that_does_not_come_up_hides_nothing(
    servers, found, monkeypatch, tmp_path
):
    monkeypatch.setattr("servers.keeper.START_TIMEOUT", 0.2)
    folder = tmp_path / "var/postgres"
    folder.mkdir(parents=True)
    with (folder / "users.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as a keeper does while it stops the server
        told = found({"REDIS_URL": servers.redis_url})
    assert told["PostgreSQL"].level == PROBLEM
    assert told["PostgreSQL"].text.endswith("does not stop.")
    assert told["Redis"].level == OK


def test_a_check_that_cannot_be_made_hides_nothing(found, monkeypatch, tmp_path):
    monkeypatch.setattr(checks, "REQUIREMENTS", tmp_path / "nowhere.txt")
    told = found()
    assert told["versions"].level == PROBLEM
    assert told["versions"].text.startswith("it can't be checked: FileNotFoundError: ")
    assert told["Redis"].level == OK


def test_settings_that_the_configuration_lacks_are_listed_with_their_defaults(
    servers, database, client, tmp_path
):
    path = tmp_path / "config.ini"
    path.write_text("[check]\ndns = off\n[upload]\nmax_megabytes = 7\n")
    command = (sys.executable, ROOT / "manage.py", "--config", path, "check", "--json")
    ended = run_to_end(*command, **servers.environment)
    told = {finding["part"]: finding for finding in json.loads(ended.stdout)["findings"]}
    assert (ended.returncode, told["configuration"]["level"]) == (0, OK)
    assert "config.ini lacks settings, which have their defaults: " in told["configuration"]["text"]
    assert ", [upload] max_rows = 5000000, " in told["configuration"]["text"]
    assert not any(
        given in told["configuration"]["text"] for given in ("dns =", "megabytes", "url")
    )
    assert (told["PostgreSQL"]["level"], told["Redis"]["level"]) == (OK, OK)


def test_a_configuration_that_everybody_can_change(found, tmp_path):
    settings = load(write_config(tmp_path))
    settings.path.chmod(0o666)
    finding = next(checks._configuration(settings))
    assert (finding.level, finding.advice) == (WARNING, "Run chmod o-w config.ini.")


def test_users_that_others_can_read(found, tmp_path):
    users.add(tmp_path / "users", "alice", PASSWORD)
    (tmp_path / "users").chmod(0o644)
    finding = found()["access"]
    assert finding.level == PROBLEM
    assert "Run chmod 600 users" in finding.text


def test_without_workers_that_is_said(found):
    assert found()["workers"].level == WARNING


def test_processors_that_no_living_worker_has_or_can_load(findings, here):
    abilities = [Ability("check"), Ability("send", error="no password.")]
    here.announce([ThreadReport(1)], 0.0, abilities)
    told = findings(processors__crm="nowhere:add", processors__send="nowhere:send")
    (alive, crm, send) = [each for each in told if each.part == "workers"]
    assert alive.level == OK
    assert (crm.level, crm.text) == (WARNING, "none has crm, so batches for it wait.")
    assert re.fullmatch(r"Start one with .* --processors crm", crm.advice)
    assert send.level == WARNING
    assert send.text == "send can't be loaded: no password; batches for it wait."


def test_who_may_come_in(found, tmp_path):
    assert "only this machine" in found()["access"].text
    assert found(access__allow_anonymous="yes")["access"].level == WARNING
    assert found(server__host="0.0.0.0")["access"].level == PROBLEM  # noqa: S104
    users.add(tmp_path / "users", "alice", PASSWORD)
    assert found()["access"].text.startswith("1 user of ")
    assert found(server__host="0.0.0.0")["access"].level == WARNING  # noqa: S104


def test_clocks_that_differ(found, monkeypatch):
    monkeypatch.setattr(checks, "CLOCK_SECONDS", 0.0)
    finding = found()["clock"]
    assert finding.level == WARNING
    assert "NTP" in finding.advice


def test_packages_of_other_versions_or_missing(monkeypatch, tmp_path):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("bottle==0.0.1 \\\n    --hash=sha256:0\nno-such-package==1.0\n")
    monkeypatch.setattr(checks, "REQUIREMENTS", requirements)
    *_, finding = checks._versions(None)
    assert finding.level == WARNING
    assert "and not 0.0.1, no-such-package is missing" in finding.text
    assert "pip install -r requirements.txt" in finding.advice


def test_a_full_disk(found, monkeypatch):
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1}))
    assert found()["disk"].level == WARNING


def test_processors(found, tmp_path):
    assert found(worker__processor="nowhere:check")["processor"].level == PROBLEM
    (tmp_path / "theirs.py").write_text("def check(addresses): ...\n")
    assert found(worker__processor="theirs:check")["processor"].level == OK
    sys.path.remove(str(tmp_path))
    sys.modules.pop("theirs")


def test_a_list_of_domains_that_is_missing(found):
    finding = found(check__disposable_domains="nowhere.txt")["processor"]
    assert finding.level == PROBLEM
    assert "nowhere.txt" in finding.text


@pytest.fixture
def short_trial(monkeypatch):
    """Ask the DNS fewer questions, and wait for their answers however busy the machine is."""
    monkeypatch.setattr(trial, "AT_ONCE", 500)
    monkeypatch.setattr(trial, "ENOUGH", 400)
    monkeypatch.setattr(trial, "SECONDS", 30.0)


def test_the_dns(found, nameserver, short_trial):
    asked = {"check__nameservers": nameserver.address, "check__timeout_seconds": "20"}
    assert found(check__dns="on", **asked)["DNS"].text.startswith(f"{nameserver.address} answers")
    # Hundreds of questions, but only two that it must ask others for, and what the probe asks.
    (invented,) = [name for name, _ in nameserver.asked if name.endswith(".invalid")]
    known = {(f"{host}{name}", kind) for name in WORLD for host, kind in [("", "MX"), ("mx.", "A")]}
    assert nameserver.asked.keys() == {*known, (invented, "MX")}
    assert 400 < sum(nameserver.asked.values()) < 2000
    nameserver.silent = True
    asked["check__timeout_seconds"] = "0.3"
    assert found(check__dns="on", **asked)["DNS"].level == PROBLEM
    assert found(check__dns="auto", **asked)["DNS"].level == WARNING


def test_a_nameserver_that_gives_only_errors_beside_a_good_one(found, nameserver, short_trial):
    with Nameserver() as refusing:
        for name in ("", *WORLD, *(f"mx.{name}" for name in WORLD)):
            refusing.code(name, "REFUSED")
        both = f"{nameserver.address} {refusing.address}"
        asked = {"check__nameservers": both, "check__timeout_seconds": "20"}
        finding = found(check__dns="on", **asked)["DNS"]
    assert finding.text.startswith(f"{nameserver.address} answers in")
    assert finding.text.endswith(f"; {refusing.address} gives only errors.")
    assert finding.level == WARNING


def test_how_fast_the_dns_is(found, monkeypatch, short_trial):
    zone = "\n".join(f"{name}. MX 10 mx.example.net." for name in WORLD)
    # However busy the machine is.
    monkeypatch.setattr(processor_checks, "FEW_ANSWERS", 0)
    monkeypatch.setattr(processor_checks, "MANY_LATE", 1.0)
    with nsd.start(f"{zone}\nmx.example.net. A 192.0.2.1", origin=".") as server:
        away = f"127.0.0.1:{own.free_port()}"
        finding = found(check__dns="on", check__nameservers=server.url)["DNS"]
        with_one_away = found(check__dns="on", check__nameservers=f"{server.url} {away}")["DNS"]
        monkeypatch.setattr(processor_checks, "FEW_ANSWERS", 1e9)
        slow = found(check__dns="on", check__nameservers=server.url)["DNS"]
    speed = r" answers in [\d.]+ ms \(median\), and gives at least [\d,]+ answers a second"
    assert re.fullmatch(rf"{server.url}{speed} from its cache\.", finding.text)
    assert finding.level == OK
    assert with_one_away.level == slow.level == WARNING
    assert with_one_away.text.endswith(f"; {away} doesn't answer.")
    assert "Run a caching resolver" in slow.advice


def test_postgresql_that_is_too_old_or_has_too_few_connections(found, monkeypatch):
    monkeypatch.setattr(checks, "OLDEST_POSTGRES", 99)
    told = found(server__request_threads=256)
    assert told["connections"].level == PROBLEM
    assert "room for 0 beside the app" in told["connections"].text
    assert "Set max_connections to" in told["connections"].advice


def test_postgresql_that_can_only_be_read(servers, document):
    url = f"{servers.database_url}&options=-cdefault_transaction_read_only%3Don"
    status, told = document("check", DATABASE_URL=url)
    assert status == 1
    (problem,) = (each for each in told["findings"] if each["level"] == PROBLEM)
    assert "it accepts no writes" in problem["text"]


@pytest.mark.parametrize(
    ("version", "level", "said"),
    [
        (NEWEST + 1, PROBLEM, "Install the newer version"),
        (NEWEST - 1, WARNING, "the next app or worker that starts brings them to"),
    ],
)
def test_tables_of_another_version(found, version, level, said):
    kept = query("DELETE FROM schema_version RETURNING version")
    query("INSERT INTO schema_version VALUES (%s) RETURNING 1", version)
    try:
        finding = found()["tables"]
    finally:
        query("DELETE FROM schema_version RETURNING 1")
        for (number,) in kept:
            query("INSERT INTO schema_version VALUES (%s) RETURNING 1", number)
    assert finding.level == level
    assert said in finding.text + finding.advice


def test_redis_that_may_drop_the_list(servers, found):
    with own.temporary_folder() as folder:
        options = ("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru")
        with own.redis_server(folder, "redis", *options) as server:
            finding = found({**servers.environment, "REDIS_URL": server.url})["Redis"]
    assert finding.level == WARNING
    assert "maxmemory-policy noeviction" in finding.advice


def test_a_user_of_redis_with_just_the_rights_that_are_needed(servers, found):
    with own.temporary_folder() as folder:
        user = ("--user", "batches", "on", f">{own.PASSWORD}", *RIGHTS)
        with own.redis_server(folder, "redis", *user) as server:
            url = server.url.replace("redis://:", "redis://batches:")
            told = found({**servers.environment, "REDIS_URL": url})
    assert told["Redis"].level == OK
    assert told["Redis"].text.startswith("this user may not see its version")
    assert "workers" in told
