"""Admission of requests, whose users sign in by HTTP Basic or are named by a trusted proxy.

Without users and without such a proxy, only requests to this machine's own names are admitted,
unless the configuration allows anonymous ones.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import ipaddress
import math
import os
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from bottle import request

from runtime import logs
from runtime.bounded import BoundedDict
from runtime.options import Network
from runtime.settings import Settings, SettingsError
from web.access import users
from web.access.familiar import Familiar
from web.access.users import Users, UsersError
from web.problems import CHALLENGE, DETAILS, Problem, try_later

# Seconds after its last use for which a correct name and password need not be hashed again.
REMEMBER_SECONDS = 300.0
# The most names with passwords that are remembered.
MAX_REMEMBERED = 1000
# Seconds that a sign-in waits for its password to be checked before it is refused.
CHECK_SECONDS = 10.0
# The failed attempts of an account or an address after which the next attempt must wait.
FREE_ATTEMPTS = 5
# Seconds of the first wait, which doubles with each further failure, and of the longest wait.
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
# Seconds after the last failure when all failures of an account or an address are forgotten.
FORGET_SECONDS = 900.0
# The most accounts and addresses whose failures are remembered.
MAX_ATTEMPTS = 10_000

_FORWARDED = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_HOST",
              "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_PORT", "HTTP_X_FORWARDED_BY")  # fmt: skip

_BUSY = "Too many users are signing in. Please try again in a few seconds."

logger = logs.Logger("access")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def user() -> str | None:
    """Return the user who sent the current request; None where nobody has to sign in."""
    name: str | None = request.environ.get("REMOTE_USER")
    return name


def client() -> str:
    """Return the IP address that sent the current request to us, or to our trusted proxies."""
    return str(request.environ.get("app.client", ""))


def doer() -> dict[str, str]:
    """Return the user and address of the current request, as fields of a log line."""
    return {"user": user() or "-", "address": client()}


def holder() -> str:
    """Return the user, or else the network, whose slots the current request takes."""
    name = user()
    return f"user {name}" if name else f"address {_network(client())}"


def is_loopback(host: str) -> bool:
    """Return whether the host is a loopback address or localhost."""
    if host == "localhost":
        return True
    address = _parsed(host)
    return address is not None and address.is_loopback


def _parsed(text: str) -> _Address | None:
    """Return the IP address in the text, or None if there is none.

    An IPv4 address mapped into IPv6 is returned as IPv4. A zone (`%eth0`), which means nothing on
    another machine, is dropped.
    """
    try:
        address = ipaddress.ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _unmapped(network: Network) -> Network:
    """Return the network, as IPv4 if it is mapped into IPv6, as _parsed() does with addresses."""
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    return ipaddress.ip_network((mapped, network.prefixlen - 96)) if mapped else network


def _without_port(host: str) -> str:
    """Return a host without its port, and an IPv6 address without its brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0] if host.count(":") == 1 else host


class Attempts:
    """Failed attempts to sign in, by keys such as an account or an address."""

    def __init__(self) -> None:
        # By key: time of the last failure, number of failures, earliest time of the next attempt.
        self._failed = BoundedDict[str, tuple[float, int, float]](MAX_ATTEMPTS)

    def wait(self, *keys: str) -> float:
        """Return the seconds until all of these keys allow an attempt; 0 or less for now."""
        now = time.monotonic()
        return max(self._failed.get(key, (0.0, 0, 0.0))[2] - now for key in keys)

    def fail(self, *keys: str) -> None:
        """Count a failure for each of these keys, after which the next attempt may have to wait."""
        now = time.monotonic()
        for key in keys:
            last, count, _ = self._failed.get(key, (now, 0, 0.0))
            count = count + 1 if now - last < FORGET_SECONDS else 1
            beyond = count - FREE_ATTEMPTS
            wait = min(FIRST_WAIT * 2 ** min(beyond, 30), LONGEST_WAIT) if beyond >= 0 else 0.0
            self._failed[key] = now, count, now + wait

    def forget(self, key: str) -> None:
        self._failed.pop(key, None)


class Access:
    """Admits requests or refuses them. One object serves all request threads."""

    def __init__(self, settings: Settings) -> None:
        """Raise SettingsError for a bad users' file, and if anybody could come in by mistake."""
        access = settings.access
        self._header = access.trusted_user_header
        self._proxies = [_unmapped(network) for network in access.trusted_proxies]
        self._variable = "HTTP_" + self._header.upper().replace("-", "_")
        try:
            self._users = Users(settings.users_path)
        except UsersError as error:
            raise SettingsError(str(error)) from None
        # Set once there are users, and never reset: removing all of them must not let anybody in.
        self._closed = bool(self._users.present())
        self._anonymous = access.allow_anonymous
        self._attempts = Attempts()
        # By a keyed digest of a correct name and password: the time until which it is remembered,
        # and the version of the users' file that it was checked with.
        self._remembered = BoundedDict[bytes, tuple[float, int]](MAX_REMEMBERED)
        path = settings.users_path
        self._familiar = Familiar(path.with_name(f"{path.name}.familiar"))
        self._key = os.urandom(32)
        # At most one password of familiar users, and one of strangers, is checked at a time.
        self._checking = {familiar: threading.Lock() for familiar in (False, True)}
        # Strangers who wait for that hold at most half of the request threads.
        self._strangers = threading.BoundedSemaphore(max(1, settings.server.request_threads // 2))
        if not (
            self._closed or self._header or self._anonymous or is_loopback(settings.server.host)
        ):
            raise SettingsError(
                "Nobody has to sign in, so anybody who reaches"
                f" {settings.server.host} could see all batches. Run .venv/bin/python app.py"
                " --add-user NAME to add a user; or set [access] trusted_user_header and"
                " trusted_proxies for a proxy that signs people in; or set [access] allow_anonymous"
                " = yes to let everybody in."
            )

    def admit(self) -> None:
        """Set the user and address of the current request. Raises Problem if it is not admitted."""
        environ = request.environ
        remote = environ.get("REMOTE_ADDR", "")
        trusted = self.is_proxy(remote)
        if not trusted:
            for name in _FORWARDED:
                environ.pop(name, None)
        environ["app.client"] = self._client(remote, environ.get("HTTP_X_FORWARDED_FOR", ""))
        environ.pop("REMOTE_USER", None)
        if self._header:
            environ["REMOTE_USER"] = self._named(trusted, environ.get(self._variable, ""))
        elif self._closed or self._users.present():
            self._closed = True
            environ["REMOTE_USER"] = self._signed_in()
        elif not self._anonymous:
            self._check_host(environ)

    def may_send(self, headers: dict[str, str]) -> bool:
        """Return whether the headers have credentials, right or wrong, as a large body needs."""
        if self._header:
            return self._variable.removeprefix("HTTP_") in headers
        return not self._closed or "AUTHORIZATION" in headers

    @property
    def by_password(self) -> bool:
        """True if users sign in here by name and password."""
        return self._closed and not self._header

    def is_proxy(self, address: str) -> bool:
        """Return whether this is the address of a trusted proxy."""
        if not self._proxies:
            return False
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self._proxies)

    def _client(self, remote: str, forwarded: str) -> str:
        """Return the last address that isn't a trusted proxy's: earlier ones may be forged.

        An entry that isn't an address ends the search: the proxy that added it is the client.
        """
        client = str(_parsed(remote) or remote)
        for entry in reversed(forwarded.split(",")):
            if not self.is_proxy(client):
                break
            address = _parsed(_without_port(entry.strip().strip('"')))
            if address is None:
                break
            client = str(address)
        return client

    def _named(self, trusted: bool, name: str) -> str:
        """Return the user whom a trusted proxy names. Raises Problem if it names none."""
        if not trusted:
            raise Problem(
                403, "untrusted_proxy", "This server accepts requests from its proxy only."
            )
        name = _as_utf_8(name)
        # Headers of the client and of the proxy would be joined by a comma, which no name has.
        if not users.is_name(name):
            raise Problem(
                403, "no_user", "The proxy in front of this server doesn't say who you are."
            )
        return name

    def _check_host(self, environ: dict[str, Any]) -> None:
        """Raise Problem if the request is not to one of this machine's own names.

        This prevents DNS rebinding: a web page whose name is made to point to this machine. The
        files in static/ have no secrets, and the page that shows the Problem takes its style there.
        """
        host = environ.get("HTTP_HOST")
        if environ["PATH_INFO"].startswith("/static/"):
            return
        if host is not None and not is_loopback(_without_port(host).lower().rstrip(".")):
            raise Problem(
                403,
                "not_local",
                "Nobody has to sign in here, so only this machine's own addresses, such as"
                " http://localhost, are served. To serve others, add users: see [access] in"
                " config.ini.",
            )

    def _signed_in(self) -> str:
        """Return the user who signs in by HTTP Basic (RFC 7617). Raises Problem."""
        name, password = request.auth or ("", "")
        if not users.is_name(name):
            raise _unauthorized(DETAILS[401])
        digest = hmac.digest(self._key, f"{name}\0{password}".encode(), hashlib.sha256)
        network = _network(client())
        password_hash = self._users.present().get(name, "")
        if not self._remembers(digest):
            familiar = self._familiar.knows(name, network, password_hash)
            self._check(name, password, digest, network, familiar=familiar)
        self._familiar.add(name, network, password_hash)
        return name

    def _check(
        self, name: str, password: str, digest: bytes, network: str, *, familiar: bool
    ) -> None:
        """Remember the password if it is correct, and raise Problem if it is not."""
        # A failure counts for all three keys, but a familiar user waits only after failures of the
        # same account from the same network.
        keys = (f"account {name} from {network}", f"account {name}", f"address {network}")
        waits = keys[:1] if familiar else keys
        self._refuse_while_waiting(waits)
        with self._turn(familiar=familiar):
            if self._remembers(digest):
                return
            self._refuse_while_waiting(waits)
            version = self._users.version
            if len(password) <= users.MAX_PASSWORD and self._users.check(name, password):
                for key in waits[:2]:
                    self._attempts.forget(key)
                self._remembered[digest] = time.monotonic() + REMEMBER_SECONDS, version
                return
            self._attempts.fail(*keys)
        # An unknown name is not logged: it may be a password, typed into the wrong field.
        known = name in self._users.present()
        logger.warning("sign-in failed", user=name if known else "?", address=client())
        raise _unauthorized("The name or the password is wrong.")

    @contextlib.contextmanager
    def _turn(self, *, familiar: bool) -> Iterator[None]:
        """Wait until this is the one password being checked. Raises Problem if too many wait.

        A check takes much memory and time, and must not begin before earlier failures are counted.
        """
        with contextlib.ExitStack() as held:
            if not familiar:
                if not self._strangers.acquire(blocking=False):
                    raise try_later(503, "too_many_sign_ins", _BUSY)
                held.callback(self._strangers.release)
            if not self._checking[familiar].acquire(timeout=CHECK_SECONDS):
                raise try_later(503, "too_many_sign_ins", _BUSY)
            held.callback(self._checking[familiar].release)
            yield

    def _remembers(self, digest: bytes) -> bool:
        """Return whether this name and password are remembered; if so, prolong that."""
        self._users.present()  # reads the file if it has changed
        until, version = self._remembered.get(digest, (-math.inf, 0))
        now = time.monotonic()
        if version != self._users.version or now >= until:
            return False
        self._remembered[digest] = now + REMEMBER_SECONDS, version
        return True

    def _refuse_while_waiting(self, keys: Sequence[str]) -> None:
        wait = self._attempts.wait(*keys)
        if wait > 0:
            detail = "Too many attempts to sign in failed. Please wait a minute, and try again."
            headers = {"Retry-After": str(math.ceil(wait))}
            raise Problem(429, "too_many_attempts", detail, headers)


def _unauthorized(detail: str) -> Problem:
    return Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": CHALLENGE})


def _as_utf_8(text: str) -> str:
    """Return a header, which WSGI decodes as Latin-1, decoded as UTF-8; empty if it isn't UTF-8."""
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return ""


def _network(address: str) -> str:
    """Return the network that one client has: an IPv4 address, or the /64 of an IPv6 address."""
    parsed = _parsed(address)
    if parsed is None or parsed.version == 4:
        return str(parsed or address)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
