"""What all request handlers share: the servers, the streams, and whom to tell of a change."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from models import Snapshot
from postgres import database
from postgres.database import Session
from relay.batch_queue import BatchQueue
from relay.doorbell import Doorbell
from relay.hub import Hub
from relay.publish import announce
from runtime import logs
from runtime.settings import Settings
from web.access.sign_in import Access
from web.health import Health
from web.streams import Slots, Streams

logger = logs.Logger("app")


class Services:
    """One object serves all request threads.

    `postgres` is the outage of PostgreSQL, begun and ended by whoever talks to it.
    """

    def __init__(
        self,
        settings: Settings,
        access: Access,
        doorbell: Doorbell,
        hub: Hub,
        stopping: threading.Event,
    ) -> None:
        self.settings = settings
        self.access = access
        self.hub = hub
        self.postgres = logs.Outage("postgres", logger, settle=1.0)
        self.health = Health(doorbell, settings, self.postgres)
        slots = Slots(settings.server.max_streams, settings.server.max_streams_per_client)
        self.streams = Streams(hub, slots, stopping)
        self._doorbell = doorbell
        self._queue = BatchQueue(doorbell.client, settings.redis.queue_key)

    @contextmanager
    def connect(self, seconds: float = database.SESSION_SECONDS) -> Iterator[Session]:
        """A database session that lasts up to `seconds`. Raises UNREACHABLE."""
        with database.session(seconds) as current:
            yield current
        self.postgres.end()

    def announce(self, snapshot: Snapshot) -> bool:
        """Ring for the batch and publish its snapshot; False without Redis.

        Without Redis the workers find the batch in PostgreSQL, and pages ask for its state.
        """
        self.hub.tell([snapshot])
        prefix = self.settings.redis.channel_prefix
        announce(self._doorbell, self._queue, prefix, snapshot)
        return not self._doorbell.away
