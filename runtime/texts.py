"""Many texts in one piece of bytes, for work that NumPy does on all of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.intp]
_LINE_END = b"\n"


class Texts:
    """Texts in UTF-8 that follow one another, each with a line end behind it.

    content: the bytes of all.
    ends: the place of each text's line end among them, in order. A text may have line ends of its
        own.
    are_lines: whether none has; None to find out. A wrong True would split texts.
    """

    def __init__(self, content: bytes, ends: Places, *, are_lines: bool | None = None) -> None:
        self.content = content
        self.ends = ends
        if are_lines is not None:  # where it is known, which spares a look at all bytes
            self.are_lines = are_lines

    @classmethod
    def of(cls, texts: Sequence[str]) -> Texts:
        """Return these strings as Texts."""
        content = "".join([text + "\n" for text in texts]).encode()
        ends = places_of(_LINE_END, content)
        if len(ends) != len(texts):  # some have line ends of their own
            lengths = [len(text.encode()) + 1 for text in texts]
            return cls(content, np.cumsum(lengths, dtype=np.intp) - 1, are_lines=False)
        return cls(content, ends, are_lines=True)

    @classmethod
    def joined(cls, several: Sequence[Texts]) -> Texts:
        """Return all texts of several Texts, one at least, one after another."""
        starts = np.cumsum([0, *(len(each.content) for each in several)])
        ends = [each.ends + start for each, start in zip(several, starts, strict=False)]
        content = b"".join(each.content for each in several)
        are_lines = all(each.are_lines for each in several)
        return cls(content, np.concatenate(ends), are_lines=are_lines)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, position: int) -> str:
        return self.content[self.starts[position] : self.ends[position]].decode()

    @cached_property
    def starts(self) -> Places:
        """The place of each text's first byte."""
        starts = np.zeros_like(self.ends)
        starts[1:] = self.ends[:-1] + 1
        return starts

    @property
    def lengths(self) -> Places:
        """The number of bytes of each text, without its line end."""
        return self.ends - self.starts

    @cached_property
    def are_lines(self) -> bool:
        """Whether no text has a line end of its own."""
        return len(self.ends) == 0 or len(places_of(_LINE_END, self.content)) == len(self.ends)

    @cached_property
    def each(self) -> list[bytes]:
        """The bytes of each text."""
        if self.are_lines:
            return self.content.split(_LINE_END)[:-1]
        places = zip(self.starts.tolist(), self.ends.tolist(), strict=True)
        return [self.content[start:end] for start, end in places]

    def strings(self) -> list[str]:
        """Return each text as a string."""
        return [text.decode() for text in self.each]

    def part(self, start: int, stop: int) -> Texts:
        """Return the texts from position `start` to before `stop`."""
        ends = self.ends[start:stop]
        if not len(ends):
            return Texts(b"", ends)
        first = int(self.starts[start])
        content = self.content[first : int(ends[-1]) + 1]
        return Texts(content, ends - first, are_lines=self.are_lines or None)

    def replaced(self, new: Mapping[int, Iterable[str]]) -> Texts:
        """Return the texts with any number of new ones in place of some.

        new: the new texts by the positions of those that they replace, in order.
        """
        positions = np.fromiter(new, np.intp, len(new))
        starts, ends = self.starts[positions].tolist(), self.ends[positions].tolist()
        pieces: list[bytes] = []
        numbers: list[int] = []
        lengths: list[int] = []
        done, are_lines = 0, self.are_lines
        # There may be very many, so a step for one must not be a call of NumPy.
        for start, end, texts in zip(starts, ends, new.values(), strict=True):
            here = [text.encode() + _LINE_END for text in texts]
            pieces += [self.content[done:start], *here]
            numbers.append(len(here))
            lengths += map(len, here)
            done = end + 1
            are_lines = are_lines and all(text.find(_LINE_END) == len(text) - 1 for text in here)
        pieces.append(self.content[done:])
        number, is_new = np.ones(len(self), np.intp), np.zeros(len(self), np.bool_)
        number[positions], is_new[positions] = numbers, True
        all_lengths = np.repeat(self.lengths + 1, number)
        all_lengths[np.repeat(is_new, number)] = lengths
        return Texts(b"".join(pieces), np.cumsum(all_lengths) - 1, are_lines=are_lines or None)

    def without(self, positions: Iterable[int]) -> Texts:
        """Return the texts without those at these positions."""
        return self.replaced(dict.fromkeys(positions, ()))

    def lowered(self) -> Texts:
        """Return the texts in lower case."""
        if self.content.isascii():
            return Texts(self.content.lower(), self.ends, are_lines=self.are_lines)
        return Texts.of([text.lower() for text in self.strings()])


def places_of(byte: bytes, content: bytes) -> Places:
    """Return the places of a byte; NumPy finds those of frequent ones in a fifth of the time."""
    return np.flatnonzero(np.frombuffer(content, np.uint8) == ord(byte))


def count(byte: bytes, content: bytes) -> int:
    """Return how often a byte is there, in a third of the time that bytes.count() takes."""
    return int(np.count_nonzero(np.frombuffer(content, np.uint8) == ord(byte)))
