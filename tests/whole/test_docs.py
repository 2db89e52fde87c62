"""What the docs say to type is typed here, in a copy of the project, so that it stays true.

docs/deploy.md, which is for a machine with systemd, is typed by `make trial`.
"""

import json
import os
import pkgutil
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest

from harness.config import ROOT, copy_project, modules
from harness.files import csv_of
from harness.polling import eventually
from harness.processes import Process, Running, run_to_end
from harness.servers import database_of_its_own, free_port
from harness.site import Site
from whole import deploy_trial

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
PASSWORD = "correct horse"
# What goes on until it is stopped, and what it says when it is ready.
LASTING = {
    ".venv/bin/python app.py": "event=serving",
    ".venv/bin/python worker.py --threads 4": 'event="worker started"',
}
# What would change this checkout or fetch things from elsewhere, which `make trial` does; and what
# needs processors of a team's own, which test_processors of the workers has.
ELSEWHERE = {
    ".venv/bin/python worker.py --processors crm",
    ".venv/bin/python worker.py --processors send,check",
    "git pull",
    ".venv/bin/python -m pip install --require-hashes -r requirements.txt",
}


def commands(page):
    """The commands of a page in order, each with its continuations and without its comment."""
    found = []
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            command = re.sub(r"(^| +)# .*", "", line).strip()
            if command:
                found.append(re.sub(" +", " ", command))
    return found


def answers(page):
    """The answers that a page shows below its commands, by command."""
    found = {}
    block, command = "\n".join(re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.M | re.S)), ""
    for line in block.replace("\\\n", " ").splitlines():
        if line.startswith("#"):
            found[command] = found.get(command, "") + re.sub(r"^# *(20\d )?", "", line)
        elif line.strip() and not line.startswith(" "):
            command = re.sub(" +", " ", re.sub(r" +# .*", "", line))
    return {command: json.loads(answer) for command, answer in found.items()}


@pytest.fixture
def project():
    """A copy of the project whose app serves on a port of its own, and what is typed in there."""
    folder = Path(tempfile.mkdtemp(prefix="email-batch-"))
    folder.chmod(0o755)  # if root starts PostgreSQL, its user must reach .venv
    copy = folder / "project"
    copy_project(copy)
    (copy / ".venv").symlink_to(Path(sys.executable).parent.parent)
    config = copy / "config.ini"
    config.write_text(config.read_text().replace("dns = auto", "dns = off"))
    yield Typist(copy, free_port())
    shutil.rmtree(folder)


class Typist:
    """Types commands in a folder."""

    def __init__(self, folder, port):
        self.folder, self.port = folder, port
        self.site = Site(f"http://127.0.0.1:{port}")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "PORT": str(port)}
        for name in ("DATABASE_URL", "REDIS_URL"):
            self.environment.pop(name, None)

    def type(self, command, status=(0,), **environment):
        """What it says. `status` has those that it may end with."""
        command = command.replace("127.0.0.1:8080", f"127.0.0.1:{self.port}")
        done = run_to_end(
            *("bash", "-c", f'curl() {{ command curl -sS --fail-with-body "$@"; }}; {command}'),
            typed=f"{PASSWORD}\n",
            folder=self.folder,
            environment={**self.environment, **environment},
        )
        assert done.returncode in status, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self, script):
        """Start app.py or worker.py of this folder."""
        return Process(str(self.folder / script), PORT=str(self.port))

    def await_quiet(self):
        eventually(lambda: self.site.get("/api/health").json["unfinishedBatches"] == 0)


def page(name):
    return commands(ROOT / name)


def test_every_command_is_typed_somewhere():
    typed = {
        "make": lambda c: c.startswith("make "),
        "lasting": lambda c: c in LASTING,
        "elsewhere": lambda c: c in ELSEWHERE,
        "api": lambda c: c.startswith(("curl ", "printf ")),
        "manage": lambda c: re.match(r"(DATABASE_URL=\S+ )?\.venv/bin/python manage\.py ", c),
        "more": lambda c: c in MORE or c.startswith("export "),
    }
    for path in PAGES:
        if path.name != "deploy.md":
            for command in commands(path):
                assert any(is_so(command) for is_so in typed.values()), f"{path.name}: {command}"


MORE = {
    ".venv/bin/python worker.py --selftest",  # by test_selftest
    ".venv/bin/python app.py --add-user alice",
}


def test_what_is_made_can_be_made():
    for command in {c for path in PAGES for c in commands(path) if c.startswith("make ")}:
        done = run_to_end("bash", "-c", command.replace("make ", "make --dry-run ", 1))
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("tests/whole/deploy_trial.py", "apt install debootstrap systemd-container util-linux"),
        ("tests/browser/screenshots.py", "There is no Chromium; `make system` installs it"),
    ],
)
def test_what_needs_a_program_of_the_system_says_so_in_a_sentence(tmp_path, script, sentence):
    nowhere = {"PATH": str(tmp_path), "PLAYWRIGHT_BROWSERS_PATH": str(tmp_path), "CHROMIUM": ""}
    done = run_to_end(sys.executable, ROOT / script, **nowhere)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


def test_links_lead_somewhere():
    for path in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_the_readme(project):
    for command, ready in LASTING.items():
        assert command in page("README.md")
        process = Running(
            ["bash", "-c", f"exec {command}"], project.environment, cwd=project.folder
        )
        process.await_line(re.escape(ready))
        assert process.stop(signal.SIGINT) == 0


def test_the_api_and_what_is_watched(project):
    shown = answers(ROOT / "docs/api.md")
    assert len(shown) >= 4
    app, worker = project.start("app.py"), project.start("worker.py")
    try:
        app.site()
        for command in [*page("docs/api.md"), *page("docs/monitoring.md")]:
            if "processor=" in command:
                continue  # by the next test
            if re.search("cancel|pause|rate", command):
                # It may have been completed once more by now.
                said = project.type(command, status=(0, 22))
                assert re.search('"cancelled"|"paused"|"perMinute"|"wrong_state"', said)
                continue
            if command.endswith("/batches/stream"):
                said = project.type(f"timeout 3 {command}".replace("curl", "curl -sS"), (124,))
                assert "event: health" in said
                continue
            if re.search("typos|emails|retry|DELETE|results", command):
                project.await_quiet()
            said = project.type(command)
            if command in shown:
                assert json.loads(said) == shown.pop(command)
        assert shown == {}
        results = [path.name for path in project.folder.glob("people.results*")]
        assert len(results) == 3
        assert app.stop() == 0
    finally:
        assert worker.stop() == 0
        app.stop()


def test_an_upload_for_one_of_several_processors(serve, tmp_path):
    (crm,) = re.findall(
        r"```python\n(# crm\.py.*?)```", (ROOT / "docs/processors.md").read_text(), re.S
    )
    (tmp_path / "crm.py").write_text(crm)
    site = serve(processors__crm="crm:add Add to our CRM", crm__url="https://crm.example.org/")
    typist = Typist(tmp_path, int(site.url.rpartition(":")[2]))
    typed = page("docs/api.md")
    typist.type(next(each for each in typed if each.startswith("printf ")))
    (upload,) = (each for each in typed if "processor=" in each)
    batch_id = json.loads(typist.type(upload))["batchId"]
    batch = site.get(f"/api/batches/{batch_id}").json
    assert {name: batch[name] for name in ("processor", "options", "columns")} == {
        "processor": "crm",
        "options": {"days": 7, "list": "events"},
        "columns": ["Name"],
    }


@pytest.mark.timeout(420)  # it backs up and restores several times
def test_what_administrators_do(project, servers):
    assert "alice may sign in now" in project.type(".venv/bin/python app.py --add-user alice")
    (project.folder / "users").unlink()
    app = project.start("app.py")
    try:
        app.site()
        worker = project.start("worker.py")
        for _ in range(2):
            assert project.site.upload(csv_of("a@x.de", "b")).status == 201
        project.await_quiet()
        assert worker.stop() == 0
        typed = page("docs/operate.md")
        before = typed.index(".venv/bin/python manage.py restore batches.dump")
        for command in typed[:before]:
            if command not in ELSEWHERE:
                project.type(command)
    finally:
        assert app.stop() == 0
    project.type(".venv/bin/python manage.py delete 2")
    for command in typed[before:]:
        if command in ELSEWHERE:
            continue
        if "://user:password@host:5432/name" in command:
            with database_of_its_own(servers.database_url, "moved") as url:
                said = project.type(command.partition(" ")[2], DATABASE_URL=url)
        else:
            said = project.type(command)
    assert said == "1 batch with 2 emails are restored, and all counts agree.\n"


def test_urls_with_certificates_are_taken_as_they_are_written(project):
    exports = [command for command in page("docs/security.md") if command.startswith("export ")]
    assert len(exports) == 2
    load = "python -c 'from runtime import settings; print(settings.load().server.port)'"
    assert project.type(f"{'; '.join(exports)}; {load}") == f"{project.port}\n"


def test_the_deployment_is_a_script_without_mistakes_in_its_form():
    done = run_to_end("bash", "-n", typed=deploy_trial.commands())
    assert (done.returncode, done.stderr) == (0, "")
    assert "systemctl enable --now" in deploy_trial.commands()


def test_the_map_has_every_folder_and_module_and_no_others():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = dict(re.findall(r"^\| `([\w/]+/)`[^|]*\| (.*) \|$", text, re.M))
    for path in modules():
        folder, name = path.parent.relative_to(ROOT).as_posix() + "/", path.stem
        if folder == "./":
            assert f"`{path.name}`" in text, path
        elif name != "__init__":
            assert f"`{name}`" in rows[folder], path
    for folder, row in rows.items():
        for name in re.findall(r"`(\w+)`", row):
            assert (ROOT / folder / f"{name}.py").exists(), f"{folder}: {name}"


def test_the_walks_name_functions_that_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    walks = text.partition("## Three walks")[2].partition("\n## ")[0]
    names = re.findall(r"`([a-z]\w*(?:\.\w+)+)`", walks)
    assert len(names) > 12
    for name in names:
        assert callable(pkgutil.resolve_name(name)), name
    (script,) = re.findall(r"`(static/[\w./]+)`", walks)
    assert (ROOT / script).exists()
