"""Changes a workbook where python-calamine would not give what people see.

python-calamine gives numbers without the formats of their cells, so the text that a cell shows is
written in its place. And it keeps a sheet in memory as a rectangle, in which one cell far from the
others takes room for millions, so long runs of empty rows and columns are left out. XLSX, XLSM and
ODS are changed if they have to be; all others stay as they are.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Callable
from typing import BinaryIO, cast

from tabular.workbooks import ods, xlsx
from tabular.workbooks.gaps import Gaps, pieces

# The kinds of workbooks that are changed.
_KINDS = ("xlsx", "xlsm", "ods")
SparseDetector = ods.SparseDetector | xlsx.SparseDetector


def sparse_detector(name: str) -> SparseDetector | None:
    """Return a detector of long empty runs for a part of a workbook; None if it is no sheet."""
    if name == ods.PART:
        return ods.SparseDetector()
    if name.startswith("xl/worksheets/") and name.endswith(".xml"):
        return xlsx.SparseDetector()
    return None


def as_shown(file: BinaryIO, kind: str, sparse: set[str]) -> tuple[BinaryIO, dict[str, Gaps]]:
    """Return the workbook, in a temporary file if it is changed, and the rows left out of it.

    The rows are those of each changed sheet, by its name. Raises zipfile's errors.

    sparse: the parts that may have long empty runs.
    """
    gaps: dict[str, Gaps] = {}
    if kind not in _KINDS:
        return file, gaps
    with zipfile.ZipFile(file) as archive:
        changes: dict[str, Callable[[bytes], bytes]] = {}
        if kind != "ods":
            changes = xlsx.changes(archive, sparse, gaps)
        elif ods.PART in archive.NameToInfo:
            changes = {ods.PART: ods.Change(archive, gaps, sparse=bool(sparse))}
        if changes:
            file = _changed(file, archive, changes)
    file.seek(0)
    return file, gaps


def _changed(
    file: BinaryIO, archive: zipfile.ZipFile, changes: dict[str, Callable[[bytes], bytes]]
) -> BinaryIO:
    changed = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115  # it is returned
    file.seek(0)
    shutil.copyfileobj(file, changed, 1 << 20)
    with zipfile.ZipFile(changed, "a") as target:
        for name, change in changes.items():
            # The old part stays in the file, but the directory has the new one only.
            target.filelist.remove(target.NameToInfo.pop(name))
            with archive.open(name) as source, target.open(name, "w") as part:
                for piece in pieces(source):
                    part.write(change(piece))
    return changed


def never_calculated(file: BinaryIO, kind: str, sheet: str) -> bool:
    """Tell whether a sheet has formulas without a value, as far as this module reads its kind."""
    if kind not in _KINDS:
        return False
    with zipfile.ZipFile(file) as archive:
        if kind == "ods":
            return ods.never_calculated(archive, sheet)
        return xlsx.never_calculated(archive, sheet)
