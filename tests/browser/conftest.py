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
