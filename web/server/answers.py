"""Answers to requests, whose head is sent with the first piece of their body."""

from __future__ import annotations

from waitress.task import Task, WSGITask


class HeadFirst(Task):  # type: ignore[misc]
    """An answer that leaves its head to the channel, for it to be sent with what follows.

    waitress would send the head by itself. Most answers are sent at once, and each time that a
    thread sends something, another one may take its place: with eight requests at a time, one more
    answer in twelve is sent a second.
    """

    def build_response_header(self) -> bytes:
        """Give the head to the channel; what is returned is sent at once."""
        self.channel.head = super().build_response_header()
        return b""

    def finish(self) -> None:
        """End the answer, and send the head of one without a body."""
        super().finish()
        self.channel.send_head()


class Answer(HeadFirst, WSGITask):  # type: ignore[misc]
    """The application's answer."""
