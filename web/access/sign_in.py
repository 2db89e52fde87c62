"""Admission: the users of a file by HTTP Basic, or users whom a trusted proxy names.

Without either, requests from this machine; others only if the configuration allows it.
"""

from __future__ import annotations

import base64
import binascii
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
from runtime.settings import Settings, SettingsError
from web.access import users
from web.access.familiar import Familiar
from web.access.users import Users, UsersError
from web.problems import CHALLENGE, RETRY_AFTER, Problem

# Seconds after their last use within which a correct name and password are not hashed again; the
# most that are remembered.
REMEMBER_SECONDS = 300.0
MAX_REMEMBERED = 1000
# Seconds that a sign-in waits for its turn to be checked before it is refused.
CHECK_SECONDS = 10.0
# Failed attempts, by account and by address, from which on the next must wait: FIRST_WAIT seconds
# at first, twice as long after each further failure, LONGEST_WAIT at most. Failures are forgotten
# FORGET_SECONDS after the last; the latest MAX_ATTEMPTS accounts and addresses are remembered.
FREE_ATTEMPTS = 5
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
FORGET_SECONDS = 900.0
MAX_ATTEMPTS = 10_000

_FORWARDED = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_HOST",
              "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_PORT", "HTTP_X_FORWARDED_BY")  # fmt: skip

logger = logs.Logger("access")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def user() -> str | None:
    """The user who sent the current request; None where nobody has to sign in."""
    name: str | None = request.environ.get("REMOTE_USER")
    return name


def client() -> str:
    """The IP address that sent the current request: the one in front of any trusted proxies."""
    address: str = request.environ.get("app.client", "")
    return address


def doer() -> dict[str, str]:
    """The user and address of the current request, as fields of a log line."""
    return {"user": user() or "-", "address": client()}


def holder() -> str:
    """The user, or else the network, whose limits the current request counts towards."""
    name = user()
    return f"user {name}" if name else f"address {_network(client())}"


def is_loopback(host: str) -> bool:
    """Whether this address is a loopback address, or this name is localhost."""
    address = _parsed(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _parsed(text: str) -> _Address | None:
    """The IP address in the text, or None. An IPv4 address mapped into IPv6 is returned as IPv4.

    A zone (`%eth0`) is dropped, because it means nothing on another machine.
    """
    try:
        address = ipaddress.ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _unmapped(network: _Network) -> _Network:
    """The network, as IPv4 if it is mapped into IPv6, because _parsed() does so with addresses."""
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    return ipaddress.ip_network((mapped, network.prefixlen - 96)) if mapped else network


def _hop(entry: str) -> _Address | None:
    """The address in an entry of X-Forwarded-For, which some proxies write with a port."""
    entry = entry.strip().strip('"')
    if entry.startswith("["):
        return _parsed(entry[1:].partition("]")[0])
    return _parsed(entry.partition(":")[0] if entry.count(":") == 1 else entry)


class Attempts:
    """Failed attempts to sign in: each makes the next for the same account or address wait."""

    def __init__(self) -> None:
        # By key: when it failed last, how often, and when the next attempt may be. Latest last.
        self._failed = BoundedDict[str, tuple[float, int, float]](MAX_ATTEMPTS)

    def wait(self, *keys: str) -> float:
        """Seconds until an attempt is allowed by all of these keys; not positive if it is now."""
        now = time.monotonic()
        return max(self._failed.get(key, (0.0, 0, 0.0))[2] - now for key in keys)

    def fail(self, *keys: str) -> None:
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
        """Raises SettingsError if other machines would get in although nothing allows it."""
        access = settings.access
        self._header = access.trusted_user_header
        self._proxies = [_unmapped(network) for network in access.trusted_proxies]
        self._variable = "HTTP_" + self._header.upper().replace("-", "_")
        try:
            self._users = Users(settings.users_path)
        except UsersError as error:
            raise SettingsError(str(error)) from None
        # Once there were users, nobody else gets in until a restart, even if all are removed.
        self._closed = bool(self._users.present())
        self._anonymous = access.allow_anonymous
        self._attempts = Attempts()
        # By a keyed digest of a name and password: until when they are remembered, and the version
        # of the users' file for which they were correct.
        self._remembered = BoundedDict[bytes, tuple[float, int]](MAX_REMEMBERED)
        # Familiar users don't wait for what strangers try elsewhere.
        path = settings.users_path
        self._familiar = Familiar(path.with_name(f"{path.name}.familiar"))
        self._key = os.urandom(32)
        # One password is checked at a time of strangers, and one of familiar users.
        self._checking = {familiar: threading.Lock() for familiar in (False, True)}
        # Strangers may hold half of the request threads at most while they wait for that.
        self._strangers = threading.BoundedSemaphore(max(1, settings.server.request_threads // 2))
        if not (
            self._closed or self._header or self._anonymous or is_loopback(settings.server.host)
        ):
            raise SettingsError(
                f"Nobody has to sign in, so that anybody could who reaches {settings.server.host}."
                " Add a user by python app.py --add-user NAME; or name a proxy that signs people in"
                " by [access] trusted_user_header and trusted_proxies; or set [access]"
                " allow_anonymous = yes, if all who reach this address may see all addresses."
            )

    def admit(self) -> None:
        """Set the user and address of the current request. Raises Problem if it isn't admitted."""
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
            environ["REMOTE_USER"] = self._signed_in(environ.get("HTTP_AUTHORIZATION", ""))
        elif not self._anonymous:
            self._keep_local(environ)

    def may_send(self, headers: dict[str, str]) -> bool:
        """Whether a request with these headers may have a large body, be they valid or not."""
        if self._header:
            return self._variable.removeprefix("HTTP_") in headers
        return not self._closed or "AUTHORIZATION" in headers

    @property
    def by_password(self) -> bool:
        """Whether users sign in here by name and password."""
        return self._closed and not self._header

    def is_proxy(self, address: str) -> bool:
        """Whether this is the address of a trusted proxy."""
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self._proxies)

    def _client(self, remote: str, forwarded: str) -> str:
        """The last address that isn't a trusted proxy's: anybody can forge the entries before.

        An entry that is no address ends the search: the proxy that wrote it counts as the client.
        """
        client = str(_parsed(remote) or remote)
        for entry in reversed(forwarded.split(",")):
            address = _hop(entry)
            if address is None or not self.is_proxy(client):
                break
            client = str(address)
        return client

    def _named(self, trusted: bool, name: str) -> str:
        """The user whom the proxy names. Raises Problem if it names none, or isn't trusted."""
        if not trusted:
            raise Problem(
                403, "untrusted_proxy", "This server is reached by way of its proxy only."
            )
        name = _as_utf_8(name)
        # Two headers, a client's and the proxy's, are joined by a comma, which no name has.
        if not users.is_name(name):
            raise Problem(
                403, "no_user", "The proxy in front of this server doesn't say who you are."
            )
        return name

    def _keep_local(self, environ: dict[str, Any]) -> None:
        """Admit only requests to this machine's own names (DNS rebinding). Raises Problem."""
        host = environ.get("HTTP_HOST", "")
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        if "HTTP_HOST" in environ and not is_loopback(name.lower().rstrip(".")):
            raise Problem(
                403,
                "not_local",
                "Nobody has to sign in here, so only this machine's own address leads here, such"
                " as http://localhost. To be reached from elsewhere, users are needed: see"
                " [access] in config.ini.",
            )

    def _signed_in(self, authorization: str) -> str:
        """The user who signs in by HTTP Basic (RFC 7617). Raises Problem."""
        name, password = _credentials(authorization)
        if not name:
            raise _unauthorized("Sign in with your name and password.")
        digest = hmac.digest(self._key, f"{name}\0{password}".encode(), hashlib.sha256)
        network = _network(client())
        known = self._users.present().get(name, "")
        if not self._remembers(digest):
            familiar = self._familiar.knows(name, network, known)
            self._check(name, password, digest, network, familiar=familiar)
        self._familiar.add(name, network, known)
        return name

    def _check(
        self, name: str, password: str, digest: bytes, network: str, *, familiar: bool
    ) -> None:
        """Raise Problem unless the password is correct, and remember it if so."""
        # A failure counts for all three keys, but a familiar user waits only for those of the same
        # account and network.
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
        # A name that no user has isn't logged: somebody may have typed a password in its place.
        known = name in self._users.present()
        logger.warning("sign-in failed", user=name if known else "?", address=client())
        raise _unauthorized("The name or the password is wrong.")

    @contextlib.contextmanager
    def _turn(self, *, familiar: bool) -> Iterator[None]:
        """Wait until this is the one password being checked. Raises Problem if too many wait.

        A check takes much memory and time, and must not begin before an earlier failure counts.
        """
        with contextlib.ExitStack() as held:
            if not familiar:
                if not self._strangers.acquire(blocking=False):
                    raise _too_many_sign_ins()
                held.callback(self._strangers.release)
            if not self._checking[familiar].acquire(timeout=CHECK_SECONDS):
                raise _too_many_sign_ins()
            held.callback(self._checking[familiar].release)
            yield

    def _remembers(self, digest: bytes) -> bool:
        """Whether this name and password were correct lately; if so, remember them for longer."""
        self._users.present()  # reads the file anew if it has changed
        until, version = self._remembered.get(digest, (-math.inf, 0))
        now = time.monotonic()
        if version != self._users.version or now >= until:
            return False
        self._remembered[digest] = now + REMEMBER_SECONDS, version
        return True

    def _refuse_while_waiting(self, keys: Sequence[str]) -> None:
        wait = self._attempts.wait(*keys)
        if wait > 0:
            raise _too_many_attempts(wait)


def _too_many_sign_ins() -> Problem:
    return Problem(
        503,
        "too_many_sign_ins",
        "Many sign in at this moment. Please try again in a few seconds.",
        headers={"Retry-After": RETRY_AFTER},
    )


def _too_many_attempts(wait: float) -> Problem:
    return Problem(
        429,
        "too_many_attempts",
        "Too many attempts to sign in have failed. Please wait a minute, and try again.",
        headers={"Retry-After": str(math.ceil(wait))},
    )


def _unauthorized(detail: str) -> Problem:
    return Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": CHALLENGE})


def _credentials(authorization: str) -> tuple[str, str]:
    """The name and password in the header; both empty if it has none."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return "", ""
    name, _, password = text.partition(":")
    return (name, password) if users.is_name(name) else ("", "")


def _as_utf_8(text: str) -> str:
    """Decode a header as UTF-8, which WSGI gave as Latin-1; empty if it isn't UTF-8."""
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return ""


def _network(address: str) -> str:
    """All addresses that one client can have: an IPv4 address, or the /64 of an IPv6 address."""
    parsed = _parsed(address)
    if parsed is None or parsed.version == 4:
        return str(parsed or address)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
