"""What the tests of the pages share."""

from collections.abc import Callable, Iterator

import pytest

from harness.engines import firefox, webkit
from harness.engines.chromium import Chromium
from harness.engines.tabs import Engine, Tab
from harness.site import Site


@pytest.fixture
def site(processes) -> Site:
    """An app that runs as a process of its own, in place of the one within the tests' process."""
    return processes("app.py").site()


@pytest.fixture(scope="session", params=["chromium", "firefox", "webkit"])
def engine(request) -> Iterator[Engine]:
    """Each engine in turn, launched once a run."""
    if request.param == "chromium":
        yield Chromium(request.getfixturevalue("browser"))
        return
    with {"firefox": firefox, "webkit": webkit}[request.param].launch() as engine:
        yield engine


@pytest.fixture
def open_tab(engine, run, serve) -> Iterator[Callable[[], Tab]]:
    """Open a tab. All tabs are closed before the servers that `run` and `serve` started."""
    with engine.context() as open_:
        yield open_


# Processors: one with twelve reasons, the even ones of risky emails, the odd ones of failed ones;
# the last has two emails. One with a reason for each email. One with the same reason for all. One
# that stops at the third email.
OWN = """
from processors import Stop, one_by_one, risky

@one_by_one
def twelve(address):
    number = min(number_in(address), 12)
    return f"own_{number}" if number % 2 else risky(f"own_{number}")

@one_by_one
def each_its_own(address):
    return f"own_{number_in(address)}"

@one_by_one
def frequent(address):
    return "frequent"

@one_by_one
def blocked(address):
    if number_in(address) == 3:
        raise Stop("<b>Wrong</b> password")

def number_in(address):
    return int(address[4:].partition("@")[0])
"""


@pytest.fixture
def start_own(processes, tmp_path):
    """Start a worker with one of the processors in OWN."""
    (tmp_path / "own.py").write_text(OWN)
    return lambda name: processes("worker.py", worker__processor=f"own:{name}")
