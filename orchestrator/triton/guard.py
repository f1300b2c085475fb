"""The parent of tritonserver, or of a service's own process: a script, run by path as `python -I -S guard.py`, stdlib only.

Why a process between us and Triton: after `kill -9` of the orchestrator nobody else is left to stop the server, its
Python workers and what those started, and to remove their shared memory. The guard is

- the reader of a pipe whose other end the orchestrator holds (its stdin): end of file means that that is gone,
- a child subreaper: every orphan below Triton becomes the guard's child, so that none can hide by outliving its parent,
- the holder of the lock that tells a later start that this server's shared memory is in use.

It ends in one way, whatever the cause (a stop order, the orchestrator's death, Triton's own end): SIGTERM to Triton, a
bounded wait, SIGKILL to whatever is left below, removal of the shared memory and of the run directory. Its exit code is
Triton's, or 128 + the number of the signal that ended Triton.

    guard.py GRACE_S SHM_PREFIX RUN_DIR LOCK_FD [--group] [--hold] [--files] PROGRAM [ARGUMENT...]

With `--group` the program leads a process group of its own, and all of that gets the SIGTERM and the time to end.
With `--hold` a program that ends by itself is not the end: what it left is killed and its shared memory removed, its exit
code is written to `RUN_DIR/ended`, and the guard waits for the order to start it again.
With `--files` the program may open as many files as the system allows, up to 65536: each call that Triton has takes a
connection.

Orders are lines on stdin: `stop SECONDS` gives Triton that long to end, `stop 0` kills it; `start` starts it again.
"""

# Only what is needed before the server runs is imported here: the guard's own start is part of every start.
import contextlib
import ctypes
import os
import select
import signal
import sys
import time

SHM = "/dev/shm"  # noqa: S108
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
POLL_S = 1.0
MOST_FILES = 65_536
REAP_S = 2.5  # a process in an uninterruptible wait is left to init after that


def prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")


def allow_files() -> None:
    """Raises the soft limit of this process, which may be 1024."""
    import resource  # only where it is needed

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def spawn(command: list[str], pid_file: str, group: bool, files: bool) -> int:
    """Starts the server below this process; its stdout and stderr are the guard's.

    Args:
        command: the program's path and its arguments.
        pid_file: where the server's pid goes before its first instruction.
        group: it leads a process group.
        files: it may open many.

    Returns:
        The server's pid.
    """
    guard = os.getpid()
    pid = os.fork()
    if pid:
        if group:  # the child does the same: whoever comes first, the group is there for both
            with contextlib.suppress(OSError):
                os.setpgid(pid, pid)
        return pid
    try:
        if group:
            os.setpgid(0, 0)
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # any program's default, not only Triton's
        # SIGKILL, not SIGTERM: a guard dies without its cleanup only by kill -9 or for want of memory, and then nobody
        # is left to bound a graceful exit: a Triton that waits for a hung model would stay.
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:  # it died before the line above took effect
            os._exit(1)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        if files:
            allow_files()
        # SIGPIPE stays ignored: when the reader of the log has died, a log line must not end the graceful exit.
        with open(pid_file, "w", encoding="ascii") as file:
            file.write(str(os.getpid()))
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.execv(command[0], command)  # noqa: S606
    except OSError as exc:
        os.write(2, f"cannot start {command[0]}: {exc}\n".encode())
    finally:
        os._exit(127)


def descendants(root: int) -> list[int]:
    """Every process below `root`, zombies included."""
    below: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", "rb") as file:
                # The command's name, in parentheses, may hold spaces and parentheses: fields count from the last one.
                below.setdefault(int(file.read().rpartition(b")")[2].split()[1]), []).append(int(entry))
    found = list(below.get(root, ()))
    for pid in found:
        found.extend(below.get(pid, ()))
    return found


def reap(main: int) -> int | None:
    """Collects every child that has ended.

    Returns:
        The exit code of `main` when it is among them, else None.
    """
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == main:
            code = os.waitstatus_to_exitcode(status)


def lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def kill_rest() -> None:
    """Kills and collects all that still runs below this process, until nothing does.

    One round is not enough: what a worker starts between the listing and its death becomes our child.
    """
    end = time.monotonic() + REAP_S
    while (rest := descendants(os.getpid())) and time.monotonic() < end:
        for pid in rest:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
        reap(0)


class Orders:
    """What the orchestrator asks for.

    Attributes:
        end: when Triton must be gone, on the monotonic clock; None while it may run.
        start: it is to be started again.
    """

    def __init__(self, grace_s: float) -> None:
        self.end: float | None = None
        self.start = False
        self._grace_s = grace_s
        self._parent = os.getppid()
        self._text = b""
        self._orphaned = False
        self._wake, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._stop_within(grace_s))
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)

    def _stop_within(self, grace_s: float) -> None:
        """A later order can only bring the end nearer."""
        end = time.monotonic() + grace_s
        self.end = end if self.end is None else min(self.end, end)

    def wait(self, timeout_s: float) -> None:
        """Returns when an order has come, a child has ended or the time is over."""
        sources = [self._wake] if self._orphaned else [self._wake, 0]
        readable, _, _ = select.select(sources, [], [], max(timeout_s, 0))
        if self._wake in readable:
            os.read(self._wake, 4096)
        chunk = os.read(0, 4096) if 0 in readable else None
        *lines, self._text = (self._text + (chunk or b"")).split(b"\n")
        for line in lines:
            if line.startswith(b"stop "):
                self._stop_within(float(line[5:]))
            elif line == b"start":
                self.start = True
        # The second test is for a pipe whose other end lives on in a forked child of the orchestrator.
        if not self._orphaned and (chunk == b"" or os.getppid() != self._parent):
            self._orphaned = True
            self._stop_within(self._grace_s)


def remove_segments(shm_prefix: str) -> None:
    """Removes this server's shared memory, but not its lock."""
    with contextlib.suppress(OSError):
        for name in os.listdir(SHM):
            if name.startswith(shm_prefix) and name != shm_prefix + "lock":
                with contextlib.suppress(OSError):
                    os.unlink(f"{SHM}/{name}")


def remove_traces(shm_prefix: str, run_dir: str) -> None:
    """Removes this server's shared memory, its run directory and, last, its lock."""
    import shutil

    remove_segments(shm_prefix)
    shutil.rmtree(run_dir, ignore_errors=True)
    with contextlib.suppress(OSError):
        os.unlink(f"{SHM}/{shm_prefix}lock")


def hold(orders: Orders, shm_prefix: str, run_dir: str, code: int) -> None:
    """Removes what a program left that has ended by itself, says so, and returns once there is an order."""
    kill_rest()
    remove_segments(shm_prefix)
    ended = f"{run_dir}/ended"
    with open(f"{ended}.new", "w", encoding="ascii") as file:
        file.write(str(128 - code if code < 0 else code))
    os.rename(f"{ended}.new", ended)
    while not orders.start and orders.end is None:
        orders.wait(POLL_S)
        reap(0)
    orders.start = False
    with contextlib.suppress(OSError):
        os.unlink(f"{run_dir}/pid")
        os.unlink(ended)


def main(arguments: list[str]) -> int:
    grace_s, shm_prefix, run_dir, lock_fd, *command = arguments
    os.set_inheritable(int(lock_fd), False)  # Triton must not hold it: a hung worker would look like a living server
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    orders = Orders(float(grace_s))
    flags = set()
    while command[0].startswith("--"):
        flags.add(command.pop(0))
    grouped, held, files = (flag in flags for flag in ("--group", "--hold", "--files"))
    server = spawn(command, f"{run_dir}/pid", grouped, files)
    code = None
    while code is None and orders.end is None:
        orders.wait(POLL_S)
        code = reap(server)
        if held and code is not None and orders.end is None:
            hold(orders, shm_prefix, run_dir, code)
            if orders.end is None:
                server, code = spawn(command, f"{run_dir}/pid", grouped, files), None
    stopped = code is None
    if stopped:
        (os.killpg if grouped else os.kill)(server, signal.SIGTERM)
    while (
        (code is None or (stopped and grouped and lives(server)))
        and orders.end is not None
        and (left_s := orders.end - time.monotonic()) > 0
    ):
        orders.wait(min(POLL_S, left_s))
        ended = reap(server)
        code = code if ended is None else ended
    kill_rest()
    remove_traces(shm_prefix, run_dir)
    if code is None:
        code = -signal.SIGKILL
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
