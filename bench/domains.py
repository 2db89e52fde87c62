"""Figures of the check with DNS lookups, on a nameserver of this machine.

nsd answers without a limit. Each worker is fresh, with an empty cache of domains and nothing known
of the nameserver. The settings of the lookups are the default ones, but for the nameserver.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import calls
import samples
from ground import Ground, Program, WrongCountError
from report import Row, say
from samples import Sample
from throughput import Run, run_batch

from harness import far_nameserver, nsd

THREADS = 4
# Zones of the invented domains; all domains of a zone have the same mail server.
ZONES = 100
# Different domains of each figure; those of `dns-domains` are for a million rows.
DOMAINS, MANY_DOMAINS, FAR_DOMAINS = 100_000, 300_000, 20_000
MILLION = 1_000_000
# Seconds until an answer of the nameserver that is far away.
FAR_SECONDS = 0.05
# The targets: domains a second, and how many times as fast as pycares that is; domains a second
# with the nameserver far away.
RATE, TIMES_PYCARES, FAR_RATE = 25_000, 2, 8_000
# How many times as long as without lookups the large list takes; with many domains, the seconds for
# a million rows, and the worker's megabytes.
TIMES_OFF, MANY_SECONDS, WORKER_MB = 1.3, 20, 120
PACKAGES = ("pycares", "aiodns")
# The ways in which resolvers.py uses them.
RESOLVERS = ("pycares", "pycares-watched", "aiodns")
# Their environment, which `make bench` makes, and the most seconds that they or dnsperf may take.
_PYTHON = Path(sys.prefix) / "resolvers/bin/python"
LIMIT = 300

Measured = tuple[list[Row], Any]


@dataclass
class Checked(Run):
    """The times of one batch, and the peak of the worker's memory in megabytes."""

    peak: float


@dataclass
class Stage:
    """An app that has taken an upload before, and the address (host:port) of a nameserver."""

    ground: Ground
    app: Program
    nameserver: str

    def run(self, sample: Sample, nameserver: str = "") -> Checked:
        """Process the list by a fresh worker.

        Nothing is looked up without a nameserver. Raises WrongCountError if a domain is unknown.
        """
        lookups = {"check__dns": "on", "check__nameservers": nameserver} if nameserver else {}
        self.ground.reset()
        with self.ground.workers(1, THREADS, **lookups) as (worker,):
            run = run_batch(self.ground, self.app, sample, failed=sample.malformed)
            checked = Checked(**vars(run), peak=worker.peak_megabytes())
        ((unknown,),) = self.ground.rows("SELECT count(*) FROM email WHERE reason ~ '^dns_'")
        self.ground.reset()
        if unknown:
            raise WrongCountError(f"the domains of {unknown} emails are unknown")
        return checked


@contextlib.contextmanager
def _stage(ground: Ground) -> Iterator[Stage]:
    """Start an app, and nsd with the domains of all lists."""
    _require(nsd.NSD, "on Debian 12: apt install nsd")
    with nsd.start(_zone(), ".") as server, ground.app() as app:
        calls.upload(app.address, samples.make(1000))  # the first one loads what the app needs
        yield Stage(ground, app, server.url)


def _require(program: Path, advice: str) -> None:
    """Raise RuntimeError with the advice if there is no such program."""
    if not shutil.which(program):
        raise RuntimeError(f"{program} is missing; {advice}")


def _zone() -> str:
    """Return the records of the domains in samples.DOMAINS, and of the invented ones."""
    lines = [f"mail{n}.example.net A 192.0.2.{n + 1}\n" for n in range(ZONES)]
    lines += [f"*.z{n}.example.net MX 10 mail{n}.example.net\n" for n in range(ZONES)]
    lines += [
        f"{domain} MX 10 mail{n % ZONES}.example.net\n" for n, domain in enumerate(samples.DOMAINS)
    ]
    return "".join(lines)


def _invented(count: int) -> list[str]:
    return [f"d{n}.z{n % ZONES}.example.net" for n in range(count)]


def _rates(runs: list[Checked]) -> list[float]:
    return [run.rows / run.process for run in runs]


def _as_json(runs: list[Checked]) -> list[dict[str, Any]]:
    return [vars(run) for run in runs]


def measure_rate(ground: Ground, _rows: int, rounds: int) -> Measured:
    """Measure an address at each of many domains, against other resolvers, and against dnsperf."""
    _require(Path("dnsperf"), "on Debian 12: apt install dnsperf")
    _require(_PYTHON, "`make bench` installs it")
    domains = _invented(DOMAINS)
    sample = samples.at_domains(DOMAINS, domains)
    names = ground.folder / "names"
    names.write_text("".join(f"{domain} MX\n" for domain in domains))
    runs: list[Checked] = []
    others: defaultdict[str, list[float]] = defaultdict(list)
    with _stage(ground) as stage:
        for number in range(1, rounds + 1):
            say(f"{DOMAINS:,} domains, round {number} of {rounds}")
            others["dnsperf"].append(_dnsperf(stage.nameserver, names))
            for which in RESOLVERS:
                others[which].append(DOMAINS / _resolver(which, stage.nameserver, names))
            runs.append(stage.run(sample, stage.nameserver))
    rates, label = _rates(runs), f"{DOMAINS:,} domains looked up"
    table = [
        Row("dns", label, "domains/s", rates, relation=">=", target=RATE),
        Row("dns", "… against pycares", "domains/s", rates, others["pycares"],
            ">=", TIMES_PYCARES),
        Row("dns", "… against pycares, watched by the thread that asks", "domains/s", rates,
            others["pycares-watched"]),
        Row("dns", "… against aiodns", "domains/s", rates, others["aiodns"]),
        Row("dns", "… against nsd's answers to dnsperf", "domains/s", rates, others["dnsperf"]),
    ]  # fmt: skip
    return table, {"runs": _as_json(runs), "others": others, **_versions()}


def _dnsperf(nameserver: str, names: Path) -> float:
    """Return the answers a second to the questions for the names' MX records."""
    host, port = nameserver.split(":")
    said = _output("dnsperf", "-s", host, "-p", port, "-d", str(names), "-n", "1")
    match = re.search(r"Queries per second:\s+([\d.]+)", said)
    if match is None:
        raise RuntimeError(f"dnsperf said {said[-500:]!r}")
    return float(match[1])


def _resolver(which: str, nameserver: str, names: Path) -> float:
    """Return the seconds that another resolver takes for all names."""
    script = Path(__file__).with_name("resolvers.py")
    return float(_output(str(_PYTHON), str(script), which, nameserver, str(names)))


def _versions() -> dict[str, str]:
    code = "import sys, importlib.metadata as m; print(*map(m.version, sys.argv[1:]))"
    said = _output(str(_PYTHON), "-c", code, *PACKAGES).split()
    return dict(zip(PACKAGES, said, strict=True))


def _output(*command: str) -> str:
    """Return what the command prints. Raises RuntimeError, with the end of its errors."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr[-500:]}")
    return done.stdout


def measure_rows(ground: Ground, rows: int, rounds: int) -> Measured:
    """Measure a large list with few domains, with lookups against without."""
    sample = samples.make(rows)
    off, on = _off_and_on(ground, sample, len(samples.DOMAINS), rounds)
    label = f"process {rows:,} rows, {len(samples.DOMAINS):,} domains, DNS on against off"
    table = [
        Row("dns-rows", label, "s", [run.process for run in on], [run.process for run in off],
            "<=", TIMES_OFF),
        Row("dns-rows", "… first byte to completed, DNS on against off", "s",
            [run.whole for run in on], [run.whole for run in off]),
    ]  # fmt: skip
    return table, {"off": _as_json(off), "on": _as_json(on)}


def measure_domains(ground: Ground, rows: int, rounds: int) -> Measured:
    """Measure a large list with many domains, from end to end, and the worker's peak of memory."""
    count = min(MANY_DOMAINS, rows * MANY_DOMAINS // MILLION)
    off, on = _off_and_on(ground, samples.at_domains(rows, _invented(count)), count, rounds)
    whole = [run.whole for run in on]
    label = f"{rows:,} rows, {count:,} domains, first byte to completed"
    table = [
        Row("dns-domains", label, "s", whole, target=MANY_SECONDS * rows / MILLION),
        Row("dns-domains", "… DNS on against off", "s", whole, [run.whole for run in off]),
        Row("dns-domains", "… the worker's peak memory", "MB", [run.peak for run in on],
            target=WORKER_MB),
    ]  # fmt: skip
    return table, {"off": _as_json(off), "on": _as_json(on)}


def _off_and_on(
    ground: Ground, sample: Sample, domains: int, rounds: int
) -> tuple[list[Checked], list[Checked]]:
    """Process the list without lookups and with them, in turn."""
    off: list[Checked] = []
    on: list[Checked] = []
    with _stage(ground) as stage:
        for number in range(1, rounds + 1):
            which = f"{sample.rows:,} rows with {domains:,} domains"
            say(f"{which}, without and with lookups, round {number} of {rounds}")
            off.append(stage.run(sample))
            on.append(stage.run(sample, stage.nameserver))
    return off, on


def measure_far(ground: Ground, _rows: int, rounds: int) -> Measured:
    """Measure an address at each of some domains, with a nameserver far away."""
    sample = samples.at_domains(FAR_DOMAINS, _invented(FAR_DOMAINS))
    runs: list[Checked] = []
    with (
        _stage(ground) as stage,
        far_nameserver.start(stage.nameserver, seconds=FAR_SECONDS) as far,
    ):
        for number in range(1, rounds + 1):
            say(f"{FAR_DOMAINS:,} domains, a nameserver far away, round {number} of {rounds}")
            runs.append(stage.run(sample, far.url))
    label = f"{FAR_DOMAINS:,} domains, nameserver {1000 * FAR_SECONDS:.0f} ms away"
    row = Row("dns-far", label, "domains/s", _rates(runs), relation=">=", target=FAR_RATE)
    return [row], _as_json(runs)


# Each takes the ground, the rows of a large list and the rounds.
MEASURES: dict[str, Callable[[Ground, int, int], Measured]] = {
    "dns": measure_rate,
    "dns-rows": measure_rows,
    "dns-domains": measure_domains,
    "dns-far": measure_far,
}
FIGURES = tuple(MEASURES)
