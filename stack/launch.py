"""Become one supervised process: drop privileges, tie its life to the supervisor's, exec.

Run as `python -I -S launch.py PARENT_PID DEATH_SIGNAL UID:GID|- COMMAND…`, with the standard library only. A program
of its own instead of `preexec_fn`, which may deadlock when the parent has threads.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, death_signal, user, *command = sys.argv[1:]
    if user != "-":
        uid, gid = (int(part) for part in user.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    os.umask(0o077)
    if sys.platform == "linux":
        # After setuid: a change of credentials clears the setting.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != int(parent):
            sys.exit("the supervisor is gone")
    os.execv(command[0], command)  # noqa: S606 - the point of this file


if __name__ == "__main__":
    main()
