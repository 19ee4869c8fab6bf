"""Runs a Python program that a model wrote: no network, no other process, little memory, little time, few bytes.

With bubblewrap (`bwrap`) the program sees a file system of its own: the system's and Python's files to read, an empty
/tmp to write, namespaces without network. Without it, it reads what this process may read, and writes no file at all.
In both a seccomp filter refuses sockets, new processes and signals to others, and limits of the kernel end a program
that takes too much. A program passes if it runs to its end: `sys.exit(0)` before the tests does not.

What it does not protect from: mistakes in the kernel; a program that reads this user's files where there is no
bubblewrap (it has no way to send them on); an answer written to deceive the tests themselves (one that searches the
interpreter's objects finds the status of success).

A program gives the same result each time as far as it can: the seed of hashes is fixed, and addresses are left out of
the reason. Its own random numbers and the clock are not fixed.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

from ziggurat.errors import UsageError
from ziggurat.exam.seccomp import filter_bytes, known_machine

_BOOT = r"""
import json, os, resource, sys
given = json.loads(sys.stdin.buffer.read())
MIB = 1 << 20
for name, value in (("RLIMIT_AS", given["memory"] * MIB), ("RLIMIT_CPU", given["seconds"] + 1),
                    ("RLIMIT_FSIZE", given["files"] * MIB), ("RLIMIT_NOFILE", 64), ("RLIMIT_CORE", 0)):
    resource.setrlimit(getattr(resource, name), (value, value))
if given["filter"]:
    import ctypes
    code = bytes.fromhex(given["filter"])
    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
    libc = ctypes.CDLL(None, use_errno=True)
    program = Program(len(code) // 8, code)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(program), 0, 0):
        os._exit(given["unsafe"])
    del ctypes, libc, program, code
passed, source = (lambda status: lambda: os._exit(status))(given.pop("right")), given["program"]
del given
answer = sys.modules["answer"] = type(sys)("answer")
def why(error):
    try:
        text = str(error)
    except BaseException:
        text = ""
    sys.__stderr__.write("\n" + (type(error).__name__ + ": " + text)[:300])
    sys.__stderr__.flush()
    os._exit(1)
try:
    exec(compile(source, "answer", "exec"), answer.__dict__)
except BaseException as error:
    why(error)
passed()
"""
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]+")
_ENVIRONMENT = {"PYTHONHASHSEED": "0"}
"""Sets have the same order in each run; `-I` would leave it unread, so `-P -s` stand for it."""
UNSAFE = 251
"""The exit status of a program that was not begun, because the filter could not be set."""


@dataclass(frozen=True)
class Limits:
    """What a program may take."""

    seconds: int = 5
    """Of the clock and of the processor."""
    memory_mib: int = 512
    file_mib: int = 8
    """Of one file, and with bubblewrap of all."""


@dataclass(frozen=True)
class Ran:
    """What became of a program; `why` it did not pass, in a few words."""

    passed: bool
    why: str = ""


def run(program: str, limits: Limits | None = None) -> Ran:
    """Run a program to its end, or to its limits; never longer than `seconds` and a moment.

    Raises:
        UsageError: this machine has neither bubblewrap nor a seccomp filter.
    """
    limits = limits or Limits()
    right = 2 + secrets.randbelow(
        200
    )  # cannot be guessed, and has no name in the process; see the module's last words
    order = {
        "program": program,
        "seconds": limits.seconds,
        "memory": limits.memory_mib,
        "files": limits.file_mib,
        "right": right,
        "unsafe": UNSAFE,
        "filter": filter_bytes(writes=_bubblewrap() is not None).hex() if known_machine() else "",
    }
    _must_be_safe()
    with tempfile.TemporaryDirectory(prefix="ziggurat-code-") as folder, tempfile.TemporaryFile() as said:
        status = _status(_command(limits), json.dumps(order), folder, said, limits.seconds)
        said.seek(0)
        words = said.read(20_000).decode("utf-8", "replace").strip().splitlines()
    if status == right:
        return Ran(True)
    if status == UNSAFE:
        raise UsageError("this machine refuses a seccomp filter, so code is not run; install bubblewrap.")
    return Ran(False, _why(status, words, limits))


def _status(command: list[str], order: str, folder: str, said: IO[bytes], seconds: int) -> int | None:
    """The exit status; None for a program that was ended at its time limit."""
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=said,
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **_ENVIRONMENT},
        start_new_session=True,
    ) as process:
        try:
            process.communicate(order.encode("utf-8", "replace"), timeout=seconds + 1)
        except subprocess.TimeoutExpired:
            _end(process)
            return None
        except BrokenPipeError:
            pass
        finally:
            _end(process)
        return process.returncode


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _why(status: int | None, words: list[str], limits: Limits) -> str:
    number = 0 if status is None else -status if status < 0 else status - 128 if status > 128 else 0
    if status is None or number in (signal.SIGXCPU, signal.SIGKILL):
        return f"ended after {limits.seconds} s"
    if number == signal.SIGXFSZ:
        return f"wrote more than {limits.file_mib} MiB"
    if status == 1 and words:
        last = words[-1]
        if last.startswith("MemoryError"):
            return f"used more than {limits.memory_mib} MiB"
        return _ADDRESS.sub("0x", last)[:200]  # addresses are others in each run
    return "ended before the tests" if number <= 0 else f"ended by signal {number}"


def _command(limits: Limits) -> list[str]:
    python = [str(_python()), "-P", "-s", "-S", "-B", "-c", _BOOT]
    bwrap = _bubblewrap()
    if bwrap is None:
        return python
    seen: list[str] = []
    for place in ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", str(Path(sys.base_prefix).resolve())):
        if os.path.exists(place):
            seen += ["--ro-bind", place, place]
    return [
        *(bwrap, "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--clearenv"),
        *("--uid", "65534", "--gid", "65534", "--cap-drop", "ALL"),
        *seen,
        *("--proc", "/proc", "--dev", "/dev"),
        *("--size", str(limits.file_mib << 20), "--tmpfs", "/tmp", "--chdir", "/tmp"),  # noqa: S108 - inside
        *("--remount-ro", "/dev", "--remount-ro", "/"),  # so that all files together have the size of /tmp
        *(part for name, value in _ENVIRONMENT.items() for part in ("--setenv", name, value)),
        *python,
    ]


def _python() -> Path:
    """The interpreter itself, not a link of a virtual environment."""
    own = Path(sys.base_prefix).resolve() / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    return own if own.is_file() else Path(sys.executable).resolve()


@cache
def _bubblewrap() -> str | None:
    """The path of a bubblewrap that works here: some containers allow no namespaces."""
    found = shutil.which("bwrap")
    if found is None:
        return None
    try:
        command = [found, "--unshare-all", "--unshare-user", "--size", "65536", "--tmpfs", "/tmp"]  # noqa: S108
        for place in ("/usr", "/lib", "/lib64"):
            command += ["--ro-bind-try", place, place]
        test = subprocess.run([*command, "/usr/bin/true"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found if test.returncode == 0 else None


def _must_be_safe() -> None:
    if _bubblewrap() is None and not known_machine():
        raise UsageError(
            f"code is not run on {platform.system()} {platform.machine()} without bubblewrap; install it."
        )
