"""A filter of system calls for a program that is not trusted, as the kernel reads it (classic BPF).

Refused with EPERM: sockets, new processes (threads are allowed), signals to and looks into others, limits of others,
memory and queues that processes share by name, namespaces, mounts; without `writes` also everything that changes a
file system. Numbers of system calls: the kernel's tables for x86-64 and
arm64. Source: Documentation/userspace-api/seccomp_filter.rst.
"""

from __future__ import annotations

import errno
import platform
import struct
import sys

LD_WORD, JUMP_EQUAL, JUMP_ALL, JUMP_SET, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
AT_NUMBER, AT_MACHINE, AT_ARGUMENTS = 0, 4, 16
CLONE_THREAD = 0x00010000
WRITES = 0o1 | 0o2 | 0o100 | 0o1000 | 0o2000
"""Flags of open: write only, read and write, create, truncate, append. Equal on both machines."""
X32 = 0x40000000

_X86: dict[str, int] = {
    "socket": 41, "clone": 56, "fork": 57, "vfork": 58, "kill": 62, "clone3": 435, "ptrace": 101, "unshare": 272,
    "setns": 308, "mount": 165, "pidfd_open": 434, "pidfd_send_signal": 424, "process_vm_readv": 310,
    "process_vm_writev": 311, "tkill": 200, "bpf": 321, "io_uring_setup": 425, "add_key": 248, "keyctl": 250,
    "tgkill": 234, "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297, "prlimit64": 302, "shmget": 29, "shmctl": 31,
    "semget": 64, "semctl": 66, "msgget": 68, "msgctl": 71, "mq_open": 240, "mq_unlink": 241,
    "open": 2, "openat": 257, "openat2": 437, "creat": 85, "unlink": 87, "unlinkat": 263, "rename": 82,
    "renameat": 264, "renameat2": 316, "mkdir": 83, "mkdirat": 258, "rmdir": 84, "link": 86, "linkat": 265,
    "symlink": 88, "symlinkat": 266, "chmod": 90, "fchmod": 91, "fchmodat": 268, "fchmodat2": 452, "chown": 92,
    "fchown": 93, "lchown": 94, "fchownat": 260, "truncate": 76, "mknod": 133, "mknodat": 259, "setxattr": 188,
    "lsetxattr": 189, "fsetxattr": 190, "removexattr": 197, "lremovexattr": 198, "fremovexattr": 199, "setxattrat": 463,
    "removexattrat": 466, "utime": 132, "utimes": 235, "futimesat": 261, "utimensat": 280,
}  # fmt: skip
_ARM: dict[str, int] = {
    "socket": 198, "clone": 220, "kill": 129, "clone3": 435, "ptrace": 117, "unshare": 97, "setns": 268, "mount": 40,
    "pidfd_open": 434, "pidfd_send_signal": 424, "process_vm_readv": 270, "process_vm_writev": 271, "tkill": 130,
    "bpf": 280, "io_uring_setup": 425, "add_key": 217, "keyctl": 219,
    "tgkill": 131, "rt_sigqueueinfo": 138, "rt_tgsigqueueinfo": 240, "prlimit64": 261, "shmget": 194, "shmctl": 195,
    "semget": 190, "semctl": 191, "msgget": 186, "msgctl": 187, "mq_open": 180, "mq_unlink": 181,
    "openat": 56, "openat2": 437, "unlinkat": 35, "renameat": 38, "renameat2": 276, "mkdirat": 34, "linkat": 37,
    "symlinkat": 36, "fchmod": 52, "fchmodat": 53, "fchmodat2": 452, "fchown": 55, "fchownat": 54, "truncate": 45,
    "mknodat": 33, "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7, "removexattr": 14, "lremovexattr": 15,
    "fremovexattr": 16, "setxattrat": 463, "removexattrat": 466, "utimensat": 88,
}  # fmt: skip
_MACHINES = {"x86_64": (0xC000003E, _X86), "aarch64": (0xC00000B7, _ARM)}
_ALWAYS = frozenset(list(_X86)[: list(_X86).index("open")])
"""What is refused also where files may be written."""


def known_machine() -> bool:
    return sys.platform == "linux" and platform.machine() in _MACHINES


def filter_bytes(*, writes: bool) -> bytes:
    """The filter for this machine: instructions of 8 bytes. `writes`: whether files may be changed."""
    machine, numbers = _MACHINES[platform.machine()]
    code = [
        _op(LD_WORD, AT_MACHINE),
        _op(JUMP_EQUAL, machine, 1, 0),
        _op(RETURN, KILL),
        _op(LD_WORD, AT_NUMBER),
        *([_op(JUMP_ALL, X32, 0, 1), _refuse(errno.EPERM)] if machine == 0xC000003E else []),
    ]
    for name, number in numbers.items():
        if writes and name not in _ALWAYS:
            continue
        if name == "clone":
            code += _unless(number, 0, CLONE_THREAD, allowed_if_set=True)
        elif name == "prlimit64":  # 0 is the process itself
            code += [
                _op(JUMP_EQUAL, number, 0, 4),
                _op(LD_WORD, AT_ARGUMENTS),
                _op(JUMP_EQUAL, 0, 0, 1),
                _op(RETURN, ALLOW),
                _refuse(errno.EPERM),
            ]
        elif name in ("open", "openat"):
            code += _unless(number, 1 if name == "open" else 2, WRITES, allowed_if_set=False)
        else:  # what does not exist makes libc use the older call, whose flags can be read
            no = errno.ENOSYS if name in ("clone3", "openat2") else errno.EPERM
            code += [_op(JUMP_EQUAL, number, 0, 1), _refuse(no)]
    return b"".join([*code, _op(RETURN, ALLOW)])


def _unless(number: int, argument: int, bits: int, *, allowed_if_set: bool) -> list[bytes]:
    """Allow or refuse a call by bits of one argument (its low word)."""
    first, second = _op(RETURN, ALLOW), _refuse(errno.EPERM)
    if not allowed_if_set:
        first, second = second, first
    return [
        _op(JUMP_EQUAL, number, 0, 4),
        _op(LD_WORD, AT_ARGUMENTS + 8 * argument),
        _op(JUMP_SET, bits, 0, 1),
        first,
        second,
    ]


def _refuse(number: int) -> bytes:
    return _op(RETURN, ERRNO | number)


def _op(code: int, k: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, k)
