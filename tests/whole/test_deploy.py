"""The units and alert rules of deploy/, held against systemd and against what the app tells."""

import json
import re
import shutil
import sys

import pytest
import yaml

from harness.config import ROOT, changed
from harness.processes import run_to_end
from harness.servers import required
from runtime.settings import load

DEPLOY = ROOT / "deploy"
UNITS = {"email-batch-app.service": "app.py", "email-batch-worker@.service": "worker.py"}
# systemd's own figure, from 0 for what can do nothing to 10; below 2 is "OK", most are above 9.
MOST_EXPOSED = 1.5


def analyze(*arguments):
    program = shutil.which("systemd-analyze") or required(ROOT / "systemd-analyze", "systemd")
    return run_to_end(program, *arguments)


@pytest.fixture
def units(tmp_path):
    """Copies of the units in a folder, whose program and folder are here."""
    for name in UNITS:
        places = {
            "/opt/email-batch/.venv/bin/python": sys.executable,
            "WorkingDirectory=/opt/email-batch": f"WorkingDirectory={ROOT}",
        }
        text = changed((DEPLOY / name).read_text(), places)
        (tmp_path / name.replace("@.", "@1.")).write_text(text)
    return sorted(map(str, tmp_path.iterdir()))


def test_systemd_finds_nothing_to_complain_of(units):
    done = analyze("verify", "--man=no", *units)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_units_can_do_little_else_than_they_must(units):
    for unit in units:
        done = analyze("security", "--offline=true", "--no-pager", unit)
        exposure = re.search(r"Overall exposure level for \S+ ([\d.]+)", done.stdout)
        assert float(exposure[1]) <= MOST_EXPOSED, done.stdout


@pytest.mark.parametrize(("name", "script"), UNITS.items())
def test_the_units_start_what_is_here_and_give_it_time_to_end(name, script):
    text = (DEPLOY / name).read_text()
    assert f"python {script} --config" in text
    assert (ROOT / script).exists()
    # What is wrong with the settings is not mended by starting over and over.
    assert "RestartPreventExitStatus=2" in text
    assert "\nLimitCORE=0\n" in text
    stop = int(re.search(r"TimeoutStopSec=(\d+)", text)[1])
    assert stop > load(environ={}).worker.shutdown_seconds


def test_what_is_typed_has_the_environment_and_the_arguments_that_the_service_has(tmp_path):
    url = "postgresql://u:p$x@db/name?sslmode=verify-full&sslrootcert=/etc/ssl/ca.pem"
    (tmp_path / "environment").write_text(
        f"# secrets\n\nDATABASE_URL={url}\nREDIS_URL='redis://:a b@r/0'\nPGHOST=\"h\"\nhttp_proxy=u"
    )
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
    (tmp_path / "told.py").write_text(
        "import json, os, sys\nprint(json.dumps([sys.argv[1:], dict(os.environ)]))"
    )
    places = {
        "/etc/email-batch": str(tmp_path),
        "/opt/email-batch": str(tmp_path),
        "runuser -u email-batch -- ": "",
    }
    text = changed((DEPLOY / "email-batch").read_text(), places)
    done = run_to_end("/bin/sh", "-c", text, "email-batch", "told.py", "retry", "a b")
    assert done.returncode == 0, done.stderr
    arguments, environment = json.loads(done.stdout)
    assert arguments == ["--config", f"{tmp_path}/config.ini", "retry", "a b"]
    told = {
        "DATABASE_URL": url,
        "REDIS_URL": "redis://:a b@r/0",
        "PGHOST": "h",
        "http_proxy": "u",
    }
    assert {name: environment[name] for name in told} == told


def test_alerts_are_about_metrics_that_are_told_and_documented_and_say_what_to_do(site):
    families = re.findall(r"# TYPE (email_batch_\w+)", site.get("/metrics").body.decode())
    names = {f"{name}{suffix}" for name in families for suffix in ("", "_bucket", "_count", "_sum")}
    rules = [
        rule
        for group in yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
        for rule in group["rules"]
    ]
    for rule in rules:
        assert names >= set(re.findall(r"email_batch_\w+", rule["expr"])), rule["alert"]
        assert rule["annotations"]["summary"].endswith(".")
    documented = (ROOT / "docs/monitoring.md").read_text()
    assert [name for name in families if f"`{name}" not in documented] == []
