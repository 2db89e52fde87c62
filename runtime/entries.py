"""The processors in config.ini, for each of which a batch may be uploaded."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from runtime.rate import Rate

# The name of the processor that is always there, and the section of its settings.
CHECK = "check"
# The section that names processors.
SECTION = "processors"
# A name is part of the key of a list in Redis, and of the names of fields in forms.
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_REFERENCE = re.compile(r"check|[\w.]+:\w+")
# Names that keys in Redis have already, behind that of the list.
_TAKEN = ("workers", "last-seen", "probe")
MAX_TITLE = 60


@dataclass(frozen=True)
class ProcessorEntry:
    """What config.ini says of a processor: its line, and the settings in its section.

    name: what batches call it; also the name of its section, if it has settings.
    reference: `check`, or module:function.
    title: what people call it.
    options: the settings in its section, as JSON could hold them; there may be a password.
    per_minute: the most emails a minute, by its section; None for as many as can be.
    takes_unnamed: whether batches that name no processor are for it: the only processor, or the
        check among several. They come from before there was a [processors], and no processor that
        is named there may do them unasked.
    """

    name: str
    reference: str
    title: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    per_minute: int | None = None
    takes_unnamed: bool = False

    @property
    def rate(self) -> Rate | None:
        """Its rate; None without."""
        return Rate(self.name, self.per_minute) if self.per_minute else None


def read(lines: Mapping[str, str], single: str, sections: Sequence[str]) -> list[ProcessorEntry]:
    """Return the processors that are on offer, the default first, without their options.

    lines: those of the section [processors]: a reference and a title by name.
    single: what [worker] processor says, which counts if there are no lines.
    sections: the names of the product's own sections.
    Raises ValueError, whose arguments are the key and what is wrong.
    """
    if not lines:
        module, colon, _ = single.partition(":")
        name = module if colon and module not in sections else single
        title = _CHECK_TITLE if single == CHECK else name
        return [ProcessorEntry(name, single, title, takes_unnamed=True)]
    if single != CHECK:
        raise ValueError(single, "is named by [worker] processor; give it a line here instead")
    found = [_entry(name, text, sections) for name, text in lines.items()]
    if CHECK not in lines:
        found.append(ProcessorEntry(CHECK, CHECK, _CHECK_TITLE))
    return [replace(each, takes_unnamed=each.name == CHECK) for each in found]


_CHECK_TITLE = "Check addresses"


def _entry(name: str, text: str, sections: Sequence[str]) -> ProcessorEntry:
    reference, _, title = text.strip().partition(" ")
    title = " ".join(title.split())
    if name != CHECK and (name in sections or name in _TAKEN or name == SECTION):
        raise ValueError(name, "is a name that the product needs itself; choose another")
    if not _NAME.fullmatch(name):
        raise ValueError(
            name, "is no name: it has up to 40 letters a-z, digits, - and _, and begins with a-z"
        )
    if not _REFERENCE.fullmatch(reference):
        raise ValueError(name, f"must begin with module:function, not {reference!r}")
    if name == CHECK and reference != CHECK:
        raise ValueError(name, "must be check itself; give your own processor another name")
    if reference == CHECK and name != CHECK:
        raise ValueError(name, "can't be another name of check; write check = check")
    if len(title) > MAX_TITLE:
        raise ValueError(name, f"must have a title of {MAX_TITLE} characters at most")
    return ProcessorEntry(name, reference, title or (_CHECK_TITLE if name == CHECK else name))
