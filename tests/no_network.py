"""Run a command, and let the kernel kill each of its processes that opens an internet socket.

Run `python no_network.py COMMAND ...`. It uses Linux's seccomp, which needs no privileges and also
checks the system calls of native libraries.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

SOCKET = {"x86_64": 41, "aarch64": 198}
"""Processor architecture -> number of the system call `socket`."""
AF_INET, AF_INET6 = 2, 10
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _MODE_FILTER = 22, 38, 2
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _KILL_PROCESS = 0x7FFF0000, 0x80000000
_NUMBER, _FIRST_ARGUMENT = 0, 16
"""Offsets of the number and of the first argument of a system call in `struct seccomp_data`."""


def missing() -> str:
    """Return why this machine cannot forbid sockets, or an empty string if it can."""
    if sys.platform != "linux" or platform.machine() not in SOCKET:
        return f"connections are not watched on {sys.platform}, {platform.machine()}"
    return ""


def forbid() -> None:
    """Let the kernel kill (SIGSYS) this process or each child that opens an internet socket."""
    program = [  # instructions: (code, jump if true, jump if false, operand)
        (_LOAD, 0, 0, _NUMBER),
        (_EQUAL, 0, 3, SOCKET[platform.machine()]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_EQUAL, 2, 0, AF_INET),
        (_EQUAL, 1, 0, AF_INET6),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _KILL_PROCESS),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in program))
    filter_program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in (
        (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (_PR_SET_SECCOMP, _MODE_FILTER, ctypes.c_void_p(ctypes.addressof(filter_program)), 0, 0),
    ):
        if libc.prctl(*arguments):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    forbid()
    os.execvp(sys.argv[1], sys.argv[1:])
