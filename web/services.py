"""The servers, streams and settings that all request handlers share."""

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

    `postgres` logs the outages of PostgreSQL, whichever handler meets one.
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
        self._queue = BatchQueue(doorbell.client, doorbell.key, *settings.names_in_queue)

    @contextmanager
    def connect(self, seconds: float = database.SESSION_SECONDS) -> Iterator[Session]:
        """Open a database session that lasts up to `seconds`. Raises UNREACHABLE."""
        with database.session(seconds) as current:
            yield current
        self.postgres.end()

    def announce(self, snapshot: Snapshot) -> bool:
        """Publish the snapshot, and enqueue an unfinished batch; return whether Redis is there.

        Without Redis, workers find the batch in PostgreSQL, and pages poll its state.
        """
        self.hub.tell([snapshot])
        prefix = self.settings.redis.channel_prefix
        announce(self._doorbell, self._queue, prefix, snapshot)
        return not self._doorbell.away
