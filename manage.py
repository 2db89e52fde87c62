"""The administrator's command: `python manage.py VERB`."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import signal
import sys

from admin import verbs
from admin.verbs import ManageError, Report
from runtime import command
from runtime.every import Every
from runtime.rate import MAX_PER_MINUTE, per_minute

# Seconds between two lines of progress where there is no terminal.
LINE_SECONDS = 5.0


class Meter:
    """Shows progress on standard error: in one line of a terminal, or else a line now and then."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._shown = False
        self._line = Every(LINE_SECONDS)
        self._line.restart()

    def __call__(self, text: str) -> None:
        if self._terminal:
            sys.stderr.write(f"\r{text}\x1b[K")
            sys.stderr.flush()
            self._shown = True
        elif self._line.due():
            sys.stderr.write(f"{text}\n")

    def close(self) -> None:
        """Clear the terminal's line."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")


def _parser() -> argparse.ArgumentParser:
    parser = command.argument_parser(
        "Show the status, change batches, back up and restore.",
        "Every verb works on the configured servers, whether app and workers run or not. Exit\n"
        "status 0 if all is well, 1 if not, 2 for wrong usage or settings.",
    )
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    def add(name: str, about: str) -> argparse.ArgumentParser:
        verb = subparsers.add_parser(
            name, help=about, description=f"{about[0].upper()}{about[1:]}."
        )
        verb.add_argument("--json", action="store_true", help="print one JSON document")
        return verb

    add("status", "show the state of servers, workers and the newest batches")
    retry = add("retry", "process emails of a completed batch again")
    retry.add_argument("batch", type=int, metavar="BATCH")
    retry.add_argument(
        "which", metavar="WHICH", help="failed, unknown (but not interrupted), or a reason"
    )
    for name, about in (
        ("pause", "begin nothing more of a batch until it is resumed"),
        ("resume", "go on with a paused batch"),
        ("finish", "make a batch's emails that wait to be asked again unknown"),
        ("cancel", "cancel a batch; what is counted stays"),
        ("delete", "delete a batch that has ended, with its file and all that came of it"),
    ):
        add(name, about).add_argument("batch", type=int, metavar="BATCH")
    rate = add("rate", "set how many emails of a batch are processed in a minute at most")
    rate.add_argument("batch", type=int, metavar="BATCH")
    rate.add_argument("per_minute", type=_rate, metavar="PER_MINUTE", help="or none, for no limit")
    purge = add("purge", "delete all batches that ended long ago")
    purge.add_argument("--older-than", type=_days, metavar="DAYS", required=True)
    purge.add_argument("--dry-run", action="store_true", help="only list them")
    add("check", "check configuration, connections, clocks, versions and the DNS")
    backup = add("backup", "write all batches to a file, while app and workers run")
    backup.add_argument("file", metavar="FILE", help="- for standard output")
    backup.add_argument("--force", action="store_true", help="replace a file that is there")
    restore = add("restore", "restore a backup into a database without batches")
    restore.add_argument("file", metavar="FILE")
    return parser


def _days(text: str) -> float:
    days = float(text)
    if not 0 <= days <= 36_500:
        raise argparse.ArgumentTypeError("must be a number of days from 0 to 36,500")
    return days


def _rate(text: str) -> int | None:
    if text == "none":
        return None
    with contextlib.suppress(ValueError):
        if number := per_minute(text):
            return number
    wanted = f"a whole number of emails from 1 to {MAX_PER_MINUTE:,}, or none"
    raise argparse.ArgumentTypeError(f"must be {wanted}")


def main() -> int:
    """Run the command; return its exit status."""
    command.keep_imports()
    arguments = _parser().parse_args()
    settings = command.load_or_exit(arguments)
    # Errors are printed as one sentence; without a handler, logging would print them, too.
    logging.getLogger().addHandler(logging.NullHandler())
    signal.signal(signal.SIGTERM, _end)  # tidies up, as Ctrl-C does
    try:
        with contextlib.closing(Meter()) as meter:
            report = verbs.run(arguments, settings, meter)
    except ManageError as error:
        report = Report({"error": str(error)}, ok=False)
        sys.stderr.write(f"{error}\n")
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    _print(arguments, report)
    return 0 if report.ok else 1


def _end(signum: int, _frame: object) -> None:
    raise SystemExit(128 + signum)


def _print(arguments: argparse.Namespace, report: Report) -> None:
    is_backup = arguments.verb == "backup" and arguments.file == "-"
    output = sys.stderr if is_backup else sys.stdout
    if arguments.json:
        output.write(f"{json.dumps(report.document, indent=2, ensure_ascii=False)}\n")
    else:
        output.write("".join(f"{line}\n" for line in report.lines))


if __name__ == "__main__":
    sys.exit(main())
