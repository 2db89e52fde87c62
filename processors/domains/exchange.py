"""Asks nameservers many questions at once, as fast as each lets us, from one thread.

A question goes to the nameserver with the most room. If no answer comes in time, it leaves the
nameserver's window, so that it holds up no other, and is asked again, elsewhere if possible; an
answer to any of its queries ends it. It ends without an answer when it has been asked for a certain
time. The time is longer while queries get lost, and doesn't run while no nameserver is there.
"""

from __future__ import annotations

import heapq
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count

from processors.domains import unusual, wire
from processors.domains.by_tcp import ByTcp
from processors.domains.nameserver import PROBE_ID, PROBE_SECONDS, Nameserver, Query
from processors.domains.wire import Answer
from runtime import logs

# How questions end to which no answer came, or no sensible one. No message has these results.
TIMEOUT, NONSENSE = Answer("dns_timeout"), Answer("dns_error")
# Tries of a question at least, before it ends without an answer; seconds between two tries.
TRIES, AGAIN = 3, (0.0, 0.5, 1.0)
# Further tries after answers that were no sensible ones, and the seconds before each.
ERRORS, ERROR_SECONDS = 2, (0.2, 1.0)
# While queries get lost, or while nothing comes and more than a few are to be asked again, a
# question may last so many seconds at least.
FEW, LONG = 20, 20.0
# Seconds without any nameserver after which that is an outage.
OUTAGE_SECONDS = 3.0
# An answer comes in good time if it takes no longer than so many times a nameserver's patience, and
# so many seconds at least.
PATIENCES, GOOD_SECONDS = 1.5, 0.2
# Seconds of rest after an error that nobody foresaw.
ERROR_PAUSE = 0.1
# Answers read from a socket before other work.
BURST = 64
# One in so many queries is a new question while others are asked again.
NEW = 4

logger = logs.Logger("check")


class Exchange:
    """A thread that asks nameservers.

    Other threads may call run() and close(), and read what has no underscore:
    `open` is the number of questions without an answer.
    `asked` is the number of questions asked so far, without those that were asked `first`.
    `sent` is how many of these have been sent: all up to this number.
    `away` says whether no nameserver is there, and `is_outage` whether that lasts.
    """

    def __init__(
        self,
        nameservers: Sequence[Nameserver],
        seconds: float,
        on_outage: Callable[[bool], None],
    ) -> None:
        """Start the thread.

        seconds: limits how long one question is asked.
        on_outage: is called with True when there was no nameserver for OUTAGE_SECONDS, and with
            False when one is back.
        """
        self._on_outage = on_outage
        self.is_outage = False
        # The last time at which all answers that had come were read soon after. A query may be late
        # only as seen from then: an answer that came later may still be unread.
        self._read_until = 0.0
        self.open = self.asked = self.sent = 0
        self.away = False
        self.nameservers = nameservers
        self._seconds = seconds
        # Questions to be sent now: those asked before, which go first, and the new ones.
        self._again: deque[Query] = deque()
        self._ready: deque[Query] = deque()
        self._turn = 0  # see _next_queue()
        # A heap of those to be asked again: from when on, and in which order at the same time.
        self._later: list[tuple[float, int, Query]] = []
        self._order = count()
        # What run() was given; and whether the thread must be woken for it.
        self._inbox: deque[Callable[[], None]] = deque()
        self._sleeping = False
        self._closing = False
        self._wake = os.eventfd(0, os.EFD_NONBLOCK)
        self._poll = select.epoll()
        self._poll.register(self._wake, select.EPOLLIN)
        self._sockets = {}  # by file descriptor
        for nameserver in nameservers:
            for connected, flying in nameserver.sockets:
                self._poll.register(connected, select.EPOLLIN)
                self._sockets[connected.fileno()] = nameserver, connected, flying
        self._tcp = ByTcp(
            seconds,
            lambda query, answer: self.run(lambda: self._settle(query, answer or TIMEOUT)),
        )
        self._thread = threading.Thread(target=self._loop, name="dns", daemon=True)
        self._thread.start()

    def run(self, function: Callable[[], None]) -> None:
        """Let the thread call the function soon."""
        self._inbox.append(function)
        if self._sleeping:
            self._sleeping = False
            os.eventfd_write(self._wake, 1)

    @property
    def capacity(self) -> float:
        """The answers a second that can be expected; 0 if nothing is known."""
        return sum(each.pace.capacity for each in self.nameservers)

    @property
    def good_time(self) -> float:
        """The seconds within which an answer comes in good time."""
        return max(GOOD_SECONDS, *(PATIENCES * each.pace.patience for each in self.nameservers))

    def close(self) -> None:
        """End the threads. Questions under way get no answer."""
        self.run(self._end)
        self._thread.join()
        self._tcp.close()
        for nameserver in self.nameservers:
            nameserver.close()
        self._poll.close()
        os.close(self._wake)

    # The rest belongs to the thread.

    def _end(self) -> None:
        self._closing = True

    def ask(
        self, name: str, kind: int, done: Callable[[Answer], None], *, first: bool = False
    ) -> None:
        """Ask for records of a name, which is in lower-case ASCII; call `done` with the answer.

        first: ask before all who wait, because something that was asked before depends on it.
        """
        self.open += 1
        if first:
            self._ready.appendleft(Query(name, kind, done))
        else:
            self.asked += 1
            self._ready.append(Query(name, kind, done, self.asked))

    def _loop(self) -> None:
        while not self._closing:
            try:
                self._step()
            except Exception:
                # Without this thread, every domain would be late for ever.
                logger.exception("a step of the DNS thread failed; it goes on")
                time.sleep(ERROR_PAUSE)

    def _step(self) -> None:
        """Take what other threads want, send, wait for answers, and take them."""
        while self._inbox:
            self._inbox.popleft()()
        now = time.monotonic()
        self._watch(now)
        self._send(now)
        self._sleeping = True
        seconds = 0.0 if self._inbox else self._next(now)
        events = self._poll.poll(seconds)
        self._sleeping = False
        looked, read_all = time.monotonic(), True
        for fd, _ in events:
            if fd == self._wake:
                os.eventfd_read(fd)
            else:
                read_all &= self._receive(*self._sockets[fd])
        if read_all:
            self._read_until = looked

    def _next(self, now: float) -> float:
        """Return the seconds until there is something to do even if no answer comes."""
        times = [self._later[0][0]] if self._later else []
        there = self._there(now)
        for nameserver in self.nameservers:
            if nameserver.fresh:
                times.append(nameserver.fresh[0][1] + nameserver.pace.patience)
            if nameserver.away_since is not None:
                times.append(nameserver.probe_at)
            elif (
                (self._again or self._ready)
                and nameserver in there
                and nameserver.pace.flying < nameserver.pace.window
            ):
                times.append(now + nameserver.pace.seconds_to_next())
        return min(max(min(times, default=now + 1.0) - now, 0.0), 1.0)

    def _watch(self, now: float) -> None:
        """Do what time demands: ask again, take late queries out of the windows, adapt the pace."""
        later = self._later
        while later and later[0][0] <= now:
            query = heapq.heappop(later)[2]
            if not query.settled:
                self._again.append(query)
        for nameserver in self.nameservers:
            fresh, due = nameserver.fresh, self._read_until - nameserver.pace.patience
            while fresh and (fresh[0][1] <= due or fresh[0][0].at is not nameserver):
                query, sent = fresh.popleft()
                # Otherwise it was answered, and perhaps sent once more.
                if query.at is nameserver and query.sent == sent:
                    nameserver.late(query, now)
                    query.at = None
                    self._ask_again(query, now)
            nameserver.pace.adapt(now)
            nameserver.look_into_silence(now)
            if nameserver.away_since is not None:
                self._look_for(nameserver, now)
        self._note_outage(now)

    def _note_outage(self, now: float) -> None:
        """Find out whether no nameserver is there; tell when an outage begins and when it ends."""
        since = [each.away_since for each in self.nameservers if each.away_since is not None]
        self.away = len(since) == len(self.nameservers)
        if self.away and now - max(since) <= OUTAGE_SECONDS:
            return  # nothing begins yet; an outage goes on that only seemed to be over
        if self.away != self.is_outage:
            self.is_outage = self.away
            self._on_outage(self.away)

    def _look_for(self, nameserver: Nameserver, now: float) -> None:
        """Ask a nameserver that is away whether it is back; take its queries from it."""
        for query, sent in nameserver.fresh:
            if query.at is nameserver and query.sent == sent:
                query.at = None
                query.began = 0.0
                self._again.append(query)
        nameserver.fresh.clear()
        nameserver.pace.begin(now)
        if now >= nameserver.probe_at:
            nameserver.probe_at = now + PROBE_SECONDS
            nameserver.probe()

    def _ask_again(self, query: Query, now: float) -> None:
        """Plan the next try of a question without an answer, or end it."""
        many = len(self._later) + len(self._again) > FEW
        lossy = any(
            each.pace.loses(now) or (many and each.is_silent(now)) for each in self.nameservers
        )
        limit = max(self._seconds, LONG) if lossy else self._seconds
        query.began = query.began or query.sent
        pause = AGAIN[min(query.tries, len(AGAIN)) - 1]
        if query.tries >= TRIES and now + pause - query.began >= limit:
            self._settle(query, TIMEOUT)
        else:
            heapq.heappush(self._later, (now + pause, next(self._order), query))

    def _there(self, now: float) -> list[Nameserver]:
        """Return the nameservers to be asked, without those left out if there are others."""
        there = [each for each in self.nameservers if each.away_since is None]
        return [each for each in there if each.left_out_until <= now] or there

    def _send(self, now: float) -> None:
        """Send what windows and rates allow; each query where the most room is."""
        while self._again or self._ready:
            there = self._there(now)
            nameserver = max(there, key=lambda each: each.pace.room(now), default=None)
            room = nameserver.pace.room(now) if nameserver else 0
            if nameserver is None or room <= 0:
                return
            queue, share = self._next_queue()
            if len(there) > 1 and queue[0].last is nameserver:  # another may know more
                others = [
                    each for each in there if each is not nameserver and each.pace.room(now) > 0
                ]
                nameserver = others[0] if others else nameserver
            # Of several nameservers, another has the most room after each query.
            number = max(1, room // share) if len(there) == 1 else 1
            for _ in range(min(number, len(queue))):
                query = queue.popleft()
                self.sent = max(self.sent, query.number)
                if query.settled:  # an answer came late
                    continue
                try:
                    nameserver.send(query, now)
                except BlockingIOError:
                    queue.appendleft(query)
                    return
                except OSError:
                    queue.appendleft(query)
                    nameserver.lose(now)
                    break

    def _next_queue(self) -> tuple[deque[Query], int]:
        """Return what is to be sent next, and into how many parts the room is to be divided.

        New questions are not held up by those that are asked again, to which nobody may ever have
        an answer.
        """
        if not (self._again and self._ready):
            return self._again or self._ready, 1
        self._turn = (self._turn + 1) % NEW
        return self._again if self._turn else self._ready, NEW

    def _receive(
        self, nameserver: Nameserver, connected: socket.socket, flying: dict[bytes, Query]
    ) -> bool:
        """Take what has come; return whether that was all."""
        messages: list[bytes] = []
        end: OSError | None = None
        try:
            for _ in range(BURST):
                messages.append(connected.recv(4096))
        except OSError as error:
            end = error
        now = time.monotonic()
        if messages:
            nameserver.heard(now)
        for message in messages:
            query = flying.get(message[:2])
            if query is not None:
                answer = wire.read(message, query.question)
                self._take(query, nameserver, answer, message, now)
            elif message[:2] == PROBE_ID:
                nameserver.answered_probe()
        if end is not None and not isinstance(end, BlockingIOError):  # nobody listens there
            nameserver.lose(now)
        return end is not None

    def _take(
        self, query: Query, nameserver: Nameserver, answer: Answer, message: bytes, now: float
    ) -> None:
        """Take a message with the id of a query: end the question, or plan what comes next."""
        result = answer.result
        if result == wire.UNUSUAL:
            answer = unusual.judge(message, query.name, query.kind)
            result = answer.result
            nameserver.counts.unusual += 1
            if result == wire.MALFORMED:
                nameserver.counts.answers[result] += 1
                query.errors += 1  # perhaps a forgery: the true answer may still come
                return
        nameserver.counts.answers[result] += 1
        nameserver.answered(query, now, error=result == wire.ERROR)
        pace = nameserver.pace
        was_late = query.at is None  # its next try is planned already
        if query.at is not None:
            query.at.pace.flying -= 1
            query.at = None
        # The tries before the one that is answered were lost; an answer to a later one may come.
        for _, query_id, sent in query.places:
            if query_id == message[:2]:
                pace.answered(now - sent, first=query.tries == 1)
                break
            pace.lost(sent)
            nameserver.counts.lost += 1
        if result == wire.ERROR and query.errors < ERRORS:
            self._forget(query)
            pause = ERROR_SECONDS[query.errors]
            query.errors += 1
            query.tries = 0
            if not was_late:  # two tries at once would take two places in the window, and leave one
                heapq.heappush(self._later, (now + pause, next(self._order), query))
        elif result == wire.TRUNCATED:
            pace.lost(now)  # some nameservers cut answers short when they are asked too fast
            self._forget(query)
            self._tcp.ask(query, nameserver)
        else:
            self._settle(query, answer)

    def _forget(self, query: Query) -> None:
        """Take no more answers to the queries sent so far."""
        for flying, query_id, _ in query.places:
            flying.pop(query_id, None)
        query.places.clear()

    def _settle(self, query: Query, answer: Answer) -> None:
        """End a question with this answer."""
        if query.settled:
            return
        query.settled = True
        self.open -= 1
        self._forget(query)
        if answer is TIMEOUT and query.errors:
            answer = NONSENSE
        try:
            query.done(answer)
        except Exception:
            if answer is NONSENSE:
                raise
            # Whoever asked must have an answer, or would wait for ever.
            logger.exception("an answer of the DNS could not be used")
            query.done(NONSENSE)
