"""What tests of processors share."""

import pytest

from processors.domains.lookups import Lookups


@pytest.fixture
def lookups(nameserver):
    # Longer than any answer takes, however busy the machine is.
    lookups = Lookups([nameserver.address], 30.0, 100)
    yield lookups
    lookups.close()
