"""What a program that is not trusted must not do, with bubblewrap and without it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ziggurat.errors import UsageError
from ziggurat.exam import sandbox
from ziggurat.exam.sandbox import Limits, run

LIMITS = Limits(seconds=1, memory_mib=256, file_mib=1)
NEVER = "else:\n  raise SystemExit('it could')"
WRONG = {
    "an assertion": ("assert 1 == 2", "AssertionError:"),
    "an end before the tests": ("import sys\nsys.exit(0)", "SystemExit: 0"),
    "an end without a word": ("import os\nos._exit(0)", "ended before the tests"),
    "much memory": ("x = bytearray(1 << 30)", "used more than 256 MiB"),
    "a signal to others": ("import os\nos.kill(os.getppid(), 9)", "PermissionError"),
    "broken code": ("def f(:", "SyntaxError"),
}
REFUSED = {
    "a socket": "import socket\ntry:\n  socket.socket()\nexcept OSError: pass\n" + NEVER,
    "a new process": "import os\ntry:\n  os.fork()\nexcept OSError: pass\n" + NEVER,
    "a program": "import subprocess\ntry:\n  subprocess.run(['/bin/true'])\nexcept OSError: pass\n" + NEVER,
    "a file of the user": "try:\n  open({victim!r}, 'w')\nexcept OSError: pass\n" + NEVER,
    "a removed file": "import os\ntry:\n  os.remove({victim!r})\nexcept OSError: pass\n" + NEVER,
    "secrets in the environment": "import os\nassert 'ZIGGURAT_SECRET' not in os.environ",
    "a signal to a thread": "import signal, threading\ntry:\n  signal.pthread_kill(threading.get_ident(), 0)\n"
    "except OSError: pass\n" + NEVER,
    "limits of others": "import os, resource\nresource.prlimit(0, resource.RLIMIT_NOFILE)\n"
    "try:\n  resource.prlimit(os.getppid() or 1, resource.RLIMIT_NOFILE)\nexcept OSError: pass\n" + NEVER,
    "an attribute of an open file": "import os\ntry:\n  os.setxattr(os.open({victim!r}, os.O_RDONLY), 'user.a', b'1')\n"
    "except OSError: pass\n" + NEVER,
    "memory of others": "import ctypes\nassert ctypes.CDLL(None).shmget(0, 4096, 0o1600) == -1",
    "other places to write": "for place in ('/', '/dev/', '/dev/shm/'):\n  try:\n    open(place + 'a', 'w')\n"
    "  except OSError: pass\n  else:\n    raise SystemExit('it could')",
    "the null device": "assert open('/dev/null').read() == ''",
    "the status of success": "import __main__\n"
    "assert not [v for v in vars(__main__).values() if type(v) is int and 1 < v < 202]",
    "the main part of a program": "if __name__ == '__main__':\n  raise SystemExit('it ran')",
    "a module of its own": "import sys\nclass A: pass\nassert sys.modules[A.__module__].A is A",
    "threads are allowed": "import threading\nt = threading.Thread(target=len, args=('',))\nt.start()\nt.join()",
}


@pytest.fixture(params=["bubblewrap", "filter"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ZIGGURAT_SECRET", "1")
    if request.param == "filter":
        monkeypatch.setattr(sandbox, "_bubblewrap", lambda: None)
    elif sandbox._bubblewrap() is None:
        pytest.skip("bubblewrap is not here, or may not make namespaces")
    return str(request.param)


def test_programs_that_must_not_pass(way: str) -> None:
    del way
    assert run("def f(x):\n    return x + 1\nassert f(1) == 2", LIMITS).passed
    for name, (program, why) in WRONG.items():
        ran = run(program, LIMITS)
        assert not ran.passed, name
        assert why in ran.why, name


def test_what_a_program_cannot_reach(way: str, tmp_path: Path) -> None:
    del way
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for name, program in REFUSED.items():
        ran = run(program.replace("{victim!r}", repr(str(victim))), LIMITS)
        assert ran.passed, (name, ran.why)
    assert victim.read_text() == "mine"


def test_a_program_that_never_ends_is_wrong_and_gone(way: str) -> None:
    """A loop and a sleep take the limit and a moment; nothing of them is left."""
    del way
    begun = time.monotonic()
    assert run("while True: pass", LIMITS).why == "ended after 1 s"
    assert run("import time\nprint('x' * 10**6)\ntime.sleep(99)", LIMITS).why == "ended after 1 s"
    assert time.monotonic() - begun < 30
    own = f"/proc/{os.getpid()}/task/{os.getpid()}/children"
    children = Path(own).read_text().split() if Path(own).is_file() else []
    commands = [
        Path(f"/proc/{child}/cmdline").read_bytes() for child in children if Path(f"/proc/{child}").exists()
    ]
    assert not [one for one in commands if b"RLIMIT_AS" in one]


def test_files_are_few_or_none(way: str) -> None:
    small = run("open('a', 'w').write('x')\nassert open('a').read() == 'x'", LIMITS)
    assert small.passed is (way == "bubblewrap")
    assert not run("open('a', 'wb').write(b'x' * (4 << 20))", LIMITS).passed


def test_a_machine_without_either_runs_no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_bubblewrap", lambda: None)
    monkeypatch.setattr(sandbox, "known_machine", lambda: False)
    with pytest.raises(UsageError, match="without bubblewrap; install it"):
        run("pass", LIMITS)


def test_a_program_gives_the_same_result_each_time(way: str) -> None:
    del way
    program = "words = {str(i) for i in range(50)}\nraise ValueError(object(), list(words)[:5])"
    first = run(program, LIMITS).why
    assert first == run(program, LIMITS).why
    assert first.startswith("ValueError: (<object object at 0x>, [")
