"""The files that commands write: whole or not at all, by one run at a time, and known again when they are finished.

While a run works on `scores.npy` these files stand beside it:

    scores.npy.lock           held by the run, with its process id
    scores.npy.partial        what will be scores.npy
    scores.npy.partial.json   the settings and inputs of the run, and how far it is

When it is done scores.npy.partial becomes scores.npy, and scores.npy.partial.json becomes scores.npy.json: a later run
of the same settings and inputs has nothing to do. Files of these names that hnscore has not written are left alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from hnscore.command.run_lock import RunLock
from hnscore.datasets.files import Array, StrPath, identity

if TYPE_CHECKING:
    from typing_extensions import Self

_MARK = "hnscore"  # a key of every record
_FRESH = ".hnscore-"  # then 16 digits: the new content of a file, before it takes its place


class Output:
    """An output file: locked, checked and begun by `with`; `finish` puts it in its place, and an error drops it.

    Parameters
    ----------
    path
        A symbolic link is followed.
    inputs
        The files that it is made of, by the names that errors use. They are never written to.
    settings
        What else determines the content; JSON values.
    overwrite
        Replace a finished file, and drop an unfinished one of other settings.
    """

    def __init__(
        self, path: StrPath, inputs: Mapping[str, StrPath], settings: Mapping[str, Any], overwrite: bool
    ) -> None:
        self.path, self._inputs, self._overwrite = path, dict(inputs), overwrite
        target = os.path.realpath(path) if os.path.islink(path) else path
        self._target = Path(target)
        self.partial, self._state_path = Path(f"{target}.partial"), Path(f"{target}.partial.json")
        self._record_path, self._lock_path = Path(f"{target}.json"), Path(f"{target}.lock")
        self.reference_path = Path(f"{target}.partial.reference.npy")
        self._settings = json.loads(json.dumps(dict(settings)))  # as they come back from a file
        self.state: dict[str, Any] = {}
        self.up_to_date = False
        self._lock = RunLock(self._lock_path, path)
        self._file: BinaryIO | None = None
        self._begun = False  # the files beside the target are of this run

    @property
    def worth_keeping(self) -> bool:
        """Whether a later run could go on with what an error leaves."""
        return False

    # ---- Begin and end -----------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._check_paths()
        self._lock.take()
        try:
            self._identities = {name: identity(path) for name, path in self._inputs.items()}
            self._begin()
        except BaseException as error:
            self.__exit__(type(error))
            raise
        return self

    def __exit__(self, kind: object = None, *_: object) -> None:
        try:
            if self._file is not None:
                with contextlib.suppress(OSError):  # what a full disk has refused before
                    self._file.close()
            if kind is not None and self._begun and not self.worth_keeping:
                self.partial.unlink(missing_ok=True)
                self._state_path.unlink(missing_ok=True)
                self.reference_path.unlink(missing_ok=True)
        finally:
            self._lock.drop()

    def new_state(self) -> dict[str, Any]:
        """How far a run is that has just begun; subclasses add to it."""
        return {_MARK: 1, "pid": os.getpid(), "settings": self._settings, "inputs": self._identities}

    def same_inputs(self, state: Mapping[str, Any]) -> bool:
        """Whether the inputs are those of a record."""
        return bool(state.get("inputs") == self._identities)

    def _begin(self) -> None:
        for path in self._fresh():
            path.unlink(missing_ok=True)
        state = self._read(self._state_path, "the unfinished output")
        if state is not None and "finished" in state and not self.partial.exists() and self._is_result(state):
            self._end()  # the last steps of a run that was killed before them
            state = None
        if os.path.exists(self._target):
            record = self._read(self._record_path, "the record of an output")
            if not self._overwrite:
                if record is not None and self._is_result(record) and record["settings"] == self._settings:
                    self.up_to_date = self.same_inputs(record)
                if self.up_to_date:
                    return
                raise FileExistsError(
                    f"{self.path} exists; pass --overwrite to replace it, or choose another output{self._why(record)}"
                )
        if state is None and self.partial.exists():
            raise FileExistsError(
                f"{self.partial} is in the way, and is no unfinished output of hnscore: move it, or choose another "
                "output"
            )
        if state is not None and not self.resume(state):
            state = None
        self._begun = True
        if state is None:
            self.state = self.new_state()
            self._open(anew=True)
            self.reference_path.unlink(missing_ok=True)
        else:
            self.state = state | {"pid": os.getpid()}
            self._open(anew=False)
        self.save()

    def resume(self, state: dict[str, Any]) -> bool:
        """Whether the run goes on with what `state` says of an earlier one; it starts anew otherwise."""
        return False

    def _why(self, record: dict[str, Any] | None) -> str:
        if record is None or not self._is_result(record):
            return ""
        changed = differences(record["settings"], self._settings)
        return f" (it was made with other settings: {'; '.join(changed)})" if changed else " (its inputs have changed)"

    def _open(self, anew: bool) -> None:
        # The record first: whoever finds the partial file can tell whose it is.
        self.save()
        self._file = open(self.partial, "wb") if anew else open(self.partial, "r+b")  # noqa: SIM115  see __exit__

    @property
    def file(self) -> BinaryIO:
        assert self._file is not None, "the output is open inside `with`"
        return self._file

    def write(self, array: Array) -> None:
        """The whole content."""
        with self.named_errors():
            np.lib.format.write_array_header_1_0(self.file, np.lib.format.header_data_from_array_1_0(array))
            self.file.write(np.ascontiguousarray(array).data)

    @contextlib.contextmanager
    def named_errors(self) -> Any:
        """Errors of writing know no name."""
        try:
            yield
        except OSError as error:
            if error.filename is not None:
                raise
            raise OSError(error.errno, error.strerror, str(self.partial)) from error

    def finish(self) -> None:
        """Puts the file in its place, unless the inputs have changed under way."""
        self.check_inputs()
        with self.named_errors():
            to_disk(self.file)
        stat = os.fstat(self.file.fileno())
        there = os.stat(self.partial)
        if (stat.st_ino, stat.st_dev) != (there.st_ino, there.st_dev):
            raise OSError(f"{self.partial} was replaced during the run by another program; run the same command again")
        if not self._overwrite and os.path.exists(self._target):
            raise FileExistsError(
                f"{self.path} appeared during the run, written by another program: move it, and run the same command "
                "again"
            )
        self.state["finished"] = {"bytes": stat.st_size, "modified": stat.st_mtime_ns}
        self.save()
        self.file.close()
        self._begun = False
        os.replace(self.partial, self._target)
        self._end()

    def _fresh(self) -> list[Path]:
        """What a run that was killed while it replaced a file has left of the new one."""
        name = re.escape(self._target.name)
        mine = re.compile(rf"{name}\.partial\.(json|reference\.npy){_FRESH}[0-9a-f]{{16}}")
        return [path for path in self._target.parent.iterdir() if mine.fullmatch(path.name)]

    def _end(self) -> None:
        self.reference_path.unlink(missing_ok=True)
        os.replace(self._state_path, self._record_path)

    def check_inputs(self) -> None:
        changed = []
        for name, path in self._inputs.items():
            try:
                now = identity(path)
            except OSError:
                changed.append(f"{name} {path} is gone")
                continue
            if now != self._identities[name]:
                before = self._identities[name]
                what = [key for key in ("bytes", "modified", "inode") if now[key] != before[key]]
                changed.append(f"{name} {path} has changed ({', '.join(what or ['status'])})")
        if changed:
            raise ValueError(
                f"{'; '.join(changed)} while it was read: {self.path} is not written; run the same command again once "
                "the inputs are at rest"
            )

    # ---- Paths, records ----------------------------------------------------------------------------------------------

    def _check_paths(self) -> None:
        originals = {os.path.realpath(path): path for path in self._inputs.values()}
        if os.path.realpath(self._target) in originals:
            raise ValueError(f"output {self.path} is one of the inputs; choose another")
        for path in (self.partial, self._state_path, self.reference_path, self._record_path, self._lock_path):
            if (original := originals.get(os.path.realpath(path))) is not None:
                raise ValueError(
                    f"output {self.path} needs {path} while it is unfinished, but {original} is one of the inputs; "
                    "choose another output"
                )
        if not self._target.parent.is_dir():
            raise FileNotFoundError(
                f"output {self.path}: there is no folder {os.path.dirname(self.path) or self._target.parent}; make it "
                "first"
            )
        if os.path.exists(self._target) and not os.path.isfile(self._target):
            raise ValueError(f"output {self.path} is no regular file; choose another")
        if os.path.exists(self.reference_path) and not self._state_path.exists():
            raise FileExistsError(
                f"{self.reference_path} is in the way, and not of hnscore: move it, or choose another output"
            )
        self._read(self._record_path, "the record of an output")

    def _read(self, path: Path, what: str) -> dict[str, Any] | None:
        """A record that hnscore has written; None where there is none."""
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        with contextlib.suppress(ValueError):
            state = json.loads(content)
            if isinstance(state, dict) and state.get(_MARK) == 1 and isinstance(state.get("settings"), dict):
                return state
        raise FileExistsError(f"{path} is in the way, and is not {what} of hnscore: move it, or choose another output")

    def _is_result(self, state: Mapping[str, Any]) -> bool:
        """Whether the target is as a finished run left it."""
        try:
            stat = os.stat(self._target)
        except OSError:
            return False
        return bool(state.get("finished") == {"bytes": stat.st_size, "modified": stat.st_mtime_ns})

    def save(self) -> None:
        """The state, old or new, also after a power cut."""
        replace(self._state_path, json.dumps(self.state, indent=1).encode())


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    keys = sorted({*old, *new})
    return [f"{key} was {old.get(key)}, is {new.get(key)}" for key in keys if old.get(key) != new.get(key)]


def replace(path: Path, content: bytes) -> None:
    """The old content or the new, also after a power cut."""
    fresh = Path(f"{path}{_FRESH}{token_hex(8)}")
    try:
        with open(fresh, "xb") as file:
            file.write(content)
            to_disk(file)
        os.replace(fresh, path)
    except BaseException as error:
        fresh.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
