"""What the tests of the pages in Chromium share."""

import pytest

from harness.site import Site


@pytest.fixture
def site(processes) -> Site:
    """An app that runs as a process of its own, in place of the one within the tests' process."""
    return processes("app.py").site()
