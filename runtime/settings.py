"""The settings: config.ini, the environment and the command line, read once into one dataclass.

Each setting is a field below, with its default and what is allowed (options.py). config.ini
as it comes names every setting. A file of before may lack some, which then have their defaults; it
must name no others.
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

import psycopg2
import redis
from psycopg2.extensions import parse_dsn

from runtime import entries, options, rate, redis_client
from runtime.entries import CHECK, ProcessorEntry
from runtime.options import Network
from runtime.paths import ROOT

VERSION = "0.1.0"
DEFAULT_PATH = ROOT / "config.ini"

# What config.ini calls the bundled servers: the value of [database] url and [redis] url, and the
# section with their folder. The name stays, so that existing files stay valid.
BUNDLED = "embedded"

# Environment variables that win over the file, and the setting that each stands for.
ENVIRONMENT = {
    "DATABASE_URL": ("database", "url"),
    "REDIS_URL": ("redis", "url"),
    "PORT": ("server", "port"),
}


class SettingsError(Exception):
    """A setting is unknown or out of range; the message names section, key and source."""


def _url(schemes: str, wanted: str, check: Callable[[str], object]) -> Any:
    """A URL. It may hold a password, so neither a message nor repr() shows it."""

    def parse(value: str) -> str:
        if not re.fullmatch(rf"{BUNDLED}|({schemes})://\S+", value):
            raise ValueError(f"must be '{BUNDLED}' or a {wanted} URL")
        if value != BUNDLED:
            try:
                check(value)
            except (psycopg2.ProgrammingError, redis.RedisError, ValueError, TypeError):
                raise ValueError(
                    "is malformed, or has an option that doesn't exist; characters such as % or @"
                    " in a password are written %25 or %40"
                ) from None
        return value

    return options.option(BUNDLED, parse, secret=True)


@dataclass(frozen=True)
class Server:
    host: str = options.matching("127.0.0.1", r"\S+", "an address")
    port: int = options.number("8080", int, 0, 65535)
    request_threads: int = options.number("8", int, 1, 256)
    max_streams: int = options.number("100", int, 1, 5000)
    max_streams_per_client: int = options.number("20", int, 1, 5000)
    cors_origins: tuple[str, ...] = options.option("", options.origins)

    @property
    def connections(self) -> int:
        """The most connections of an app: for request threads, hub, health and new streams."""
        return self.request_threads + 5


@dataclass(frozen=True)
class Access:
    users_file: str = options.matching("users", r".+", "a file")
    trusted_user_header: str = options.matching("", r"[A-Za-z0-9-]*", "a header's name, or empty")
    trusted_proxies: tuple[Network, ...] = options.option("", options.networks)
    allow_anonymous: bool = options.option("no", options.yes_or_no)


@dataclass(frozen=True)
class Database:
    url: str = _url("postgres(ql)?", "postgresql://", parse_dsn)


@dataclass(frozen=True)
class Redis:
    url: str = _url(
        r"rediss?(\+sentinel)?|unix",
        "redis://, rediss://, unix://, redis+sentinel:// or rediss+sentinel://",
        redis_client.check,
    )
    queue_key: str = options.matching("email-queue", r"\S+", "a name without spaces")
    channel_prefix: str = options.matching("batch:status:", r"\S+", "a name without spaces")


@dataclass(frozen=True)
class Embedded:
    folder: str = options.matching("var", r".+", "a folder")


@dataclass(frozen=True)
class Worker:
    threads: int = options.number("4", int, 1, 64)
    chunk_size: int = options.number("40000", int, 1, 100_000)
    turn_seconds: float = options.number("1", float, 0.01, 60)
    turn_timeout_seconds: float = options.number("60", float, 0.1, 3600)
    sweep_seconds: float = options.number("1", float, 0.1, 3600)
    later_rounds: int = options.number("5", int, 1, 100)
    later_hours: float = options.number("24", float, 0.001, 1000)
    shutdown_seconds: float = options.number("10", float, 0.1, 3600)
    processor: str = options.matching("check", r"check|[\w.]+:\w+", "'check' or module:function")

    @property
    def max_hung(self) -> int:
        """The number of hung threads at which a worker restarts itself."""
        return 2 * self.threads

    @property
    def connections(self) -> int:
        """The most connections of a worker: for threads, hung threads, supervisor and journal."""
        return self.threads + self.max_hung + 3


@dataclass(frozen=True)
class Check:
    dns: str = options.matching("auto", r"auto|on|off", "auto, on or off")
    nameservers: tuple[str, ...] = options.option("", options.nameservers)
    timeout_seconds: float = options.number("3", float, 0.1, 20)
    concurrency: int = options.number("2000", int, 1, 10_000)
    disposable_domains: str = options.matching("", r".*", "a file")
    per_minute: int | None = options.option("", rate.per_minute)


@dataclass(frozen=True)
class Upload:
    # Above 1,000 MB the multipart parser's own limit of 1 GiB would answer in our place.
    max_megabytes: int = options.number("256", int, 1, 1000)
    # An email's number in its batch is a 32-bit integer in the database.
    max_rows: int = options.number("5000000", int, 1, 100_000_000)


@dataclass(frozen=True)
class Retention:
    days: float = options.number("0", float, 0, 36_500)


@dataclass(frozen=True)
class Settings:
    """All settings.

    `path` is the file that they came from.
    `processors` are those that a batch may be uploaded for, the default first.
    `lacking` has the default of each setting that nothing names, by section and key.
    """

    server: Server
    access: Access
    database: Database
    redis: Redis
    embedded: Embedded
    worker: Worker
    check: Check
    upload: Upload
    retention: Retention
    path: Path
    processors: tuple[ProcessorEntry, ...] = ()
    lacking: Mapping[tuple[str, str], str] = field(default_factory=dict)

    @property
    def bundled_folder(self) -> Path:
        """[embedded] folder, as an absolute path."""
        return self.absolute(self.embedded.folder)

    @property
    def users_path(self) -> Path:
        """[access] users_file, as an absolute path."""
        return self.absolute(self.access.users_file)

    @property
    def default_processor(self) -> ProcessorEntry:
        """The processor of a new upload that chooses none: the first of config.ini."""
        return self.processors[0]

    @property
    def unnamed_processor(self) -> ProcessorEntry:
        """The processor of stored batches without a processor's name."""
        return next(each for each in self.processors if each.takes_unnamed)

    @property
    def names_in_queue(self) -> tuple[str, str]:
        """The names of the default and of the unnamed processor, as BatchQueue takes them."""
        return self.default_processor.name, self.unnamed_processor.name

    def processor(self, name: str | None) -> ProcessorEntry | None:
        """Return the processor of a batch that names it so; None if config.ini has no such one."""
        if name is None:
            return self.unnamed_processor
        return next((each for each in self.processors if each.name == name), None)

    def absolute(self, path: str) -> Path:
        """Return an absolute path; a relative one starts in the configuration's folder."""
        return (self.path.parent / Path(path).expanduser()).resolve()


# The sections of the file, which are fields of Settings.
SECTIONS: dict[str, Any] = {
    name: kind for name, kind in get_type_hints(Settings).items() if is_dataclass(kind)
}


def _read(path: Path) -> dict[tuple[str, str], str]:
    """Return the file's values by (section, key).

    Raises SettingsError if the file has others than our settings. The sections of a team's own
    processors may have any.
    """
    parser = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        with path.open(encoding="utf-8") as file:
            parser.read_file(file)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: the configuration can't be read: {error}.") from error
    except configparser.Error as error:
        raise SettingsError(f"{path}: {' '.join(error.message.split())}.") from error
    values = {(section, key): parser[section][key] for section in parser for key in parser[section]}
    known = {(section, key.name) for section, cls in SECTIONS.items() for key in fields(cls)}
    single = values.get(("worker", "processor"), CHECK)
    own = [each for each in _processors(path, values, single) if each.name not in SECTIONS]
    free = {*(each.name for each in own), entries.SECTION}
    for section in parser.sections():
        if section not in SECTIONS and section not in free:
            hint = _right_section(section, own)
            raise SettingsError(f"{path}: [{section}] is not a known section; {hint}.")
    for section, key in sorted(values.keys() - known):
        if section not in free:
            raise SettingsError(f"{path}: [{section}] {key} is not a known setting; remove it.")
    return values


def _right_section(section: str, own: Sequence[ProcessorEntry]) -> str:
    """Return what to do about a section that isn't known."""
    if section.lower() in {*SECTIONS, entries.SECTION, *(each.name for each in own)}:
        return f"names are in lower case, as in [{section.lower()}]"
    for each in own:
        if section == each.reference.partition(":")[0]:
            return f"the settings of {each.name} are in [{each.name}]"
    return "remove it"


def _processors(
    path: Path, values: Mapping[tuple[str, str], str], single: str
) -> list[ProcessorEntry]:
    """Return the processors on offer, without their options; `single` is as for entries.read().

    Raises SettingsError.
    """
    lines = {key: text for (section, key), text in values.items() if section == entries.SECTION}
    try:
        return entries.read(lines, single, [*SECTIONS])
    except ValueError as error:
        key, why = error.args
        raise SettingsError(f"{path}: [{entries.SECTION}] {key} {why}.") from None


def load(
    path: Path | str | None = None,
    overrides: Mapping[tuple[str, str], str | None] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Load the settings from the file at `path`, by default config.ini of this checkout.

    Environment variables win over the file, and `overrides`, the command line's flags by
    (section, key), win over both. Raises SettingsError.
    """
    path = Path(path or DEFAULT_PATH).resolve()
    defaults = {
        (section, key.name): key.metadata["default"]
        for section, cls in SECTIONS.items()
        for key in fields(cls)
    }
    read = _read(path)
    sources = {place: (str(path), value) for place, value in read.items()}
    for name, place in ENVIRONMENT.items():
        if environ.get(name):
            sources[place] = (f"environment variable {name}", environ[name])
    for place, flag in (overrides or {}).items():
        if flag is not None:
            sources[place] = (f"--{place[1]}", flag)
    lacking = {place: text for place, text in defaults.items() if place not in sources}
    sources |= {place: (str(path), text) for place, text in lacking.items()}
    sections = {}
    for section, cls in SECTIONS.items():
        parsed = {}
        for key in fields(cls):
            source, value = sources[section, key.name]
            try:
                parsed[key.name] = key.metadata["parse"](value)
            except ValueError as error:
                raise SettingsError(f"{source}: [{section}] {key.name} {error}.") from None
        sections[section] = cls(**parsed)
    _refuse_open_secrets(path, sources)
    settings = Settings(**sections, path=path, lacking=lacking)
    offered = _processors(path, read, settings.worker.processor)
    configured = tuple(_configured(each, settings, read) for each in offered)
    settings = replace(settings, processors=configured)
    _refuse_contradictions(settings)
    _refuse_broken_folder(settings)
    return settings


def _configured(
    processor: ProcessorEntry, settings: Settings, values: Mapping[tuple[str, str], str]
) -> ProcessorEntry:
    """Return the processor with what its section says. Raises SettingsError."""
    if processor.name == CHECK:
        disposable = settings.check.disposable_domains
        options = {
            **asdict(settings.check),
            "nameservers": list(settings.check.nameservers),
            "disposable_domains": disposable and str(settings.absolute(disposable)),
        }
        return replace(processor, options=options, per_minute=settings.check.per_minute)
    own = {key: text for (section, key), text in values.items() if section == processor.name}
    try:
        per_minute = rate.per_minute(own.get("per_minute", ""))
    except ValueError as error:
        where = f"{settings.path}: [{processor.name}] per_minute"
        raise SettingsError(f"{where} {error}.") from None
    return replace(processor, options=own, per_minute=per_minute)


def _refuse_contradictions(settings: Settings) -> None:
    path, worker, access = settings.path, settings.worker, settings.access
    if worker.turn_timeout_seconds <= worker.turn_seconds:
        raise SettingsError(
            f"{path}: [worker] turn_timeout_seconds must be greater than turn_seconds,"
            f" {worker.turn_seconds:g}."
        )
    if access.trusted_user_header and not access.trusted_proxies:
        raise SettingsError(
            f"{path}: [access] trusted_user_header needs trusted_proxies, the addresses of the"
            " proxies that may send it."
        )


def _refuse_broken_folder(settings: Settings) -> None:
    """Refuse a path of bundled servers that can't be part of their URLs, which are UTF-8."""
    try:
        str(settings.bundled_folder).encode()
    except UnicodeEncodeError:
        if BUNDLED in (settings.database.url, settings.redis.url):
            raise SettingsError(
                f"{settings.path}: [embedded] folder, {settings.bundled_folder}, has bytes in its"
                " path that are not UTF-8. Choose another folder for the data of the bundled"
                " servers."
            ) from None


def _refuse_open_secrets(path: Path, sources: Mapping[tuple[str, str], tuple[str, str]]) -> None:
    """Refuse a file with a password unless only its owner can read it."""
    for name, place in ENVIRONMENT.items():
        source, value = sources[place]
        if (
            source == str(path)
            and re.search(r"://[^/@]*:[^/@]+@|[?&](sentinel_)?password=.", value)
            and path.stat().st_mode & 0o077
        ):
            raise SettingsError(
                f"{path}: [{place[0]}] {place[1]} holds a password, and others can read the file."
                f" Run chmod 600 {path.name}, or give it by the environment variable {name}."
            )
