"""Child processes find our modules wherever the project is, and pass nothing of that on."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from runtime import child

PROBE = """
import json, os, sys
print(json.dumps({"name": __name__, "arguments": sys.argv[1:], "env": os.environ.get("PYTHONPATH"),
    "path": sys.path[0], "json": json.__file__}))
"""


@pytest.mark.parametrize("pythonpath", [None, "/nowhere"])
def test_a_child_starts_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pythonpath: str | None
) -> None:
    """In a folder with a colon in its name, too, and PYTHONPATH stays as it is."""
    project = tmp_path / "a:b"
    (project / "runtime").mkdir(parents=True)
    (project / "probe.py").write_text(PROBE)
    copy = Path(shutil.copy(child.__file__, project / "runtime"))
    spec = importlib.util.spec_from_file_location("copy_of_child", copy)
    assert spec is not None
    assert spec.loader is not None
    copied = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copied)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if pythonpath is not None:
        monkeypatch.setenv("PYTHONPATH", pythonpath)
    # Neither the working directory nor the script's folder is imported from.
    work = tmp_path / "work"
    work.mkdir()
    for folder in (work, project / "runtime"):
        (folder / "json.py").write_text("raise SystemExit('the wrong json')")

    with copied.start("probe", "x", "", stdout=subprocess.PIPE, cwd=work) as process:
        said = json.loads(process.stdout.read())

    assert said["name"] == "__main__"
    assert said["arguments"] == ["x", ""]
    assert said["env"] == pythonpath
    assert said["path"] == str(project)
    assert said["json"] == json.__file__
