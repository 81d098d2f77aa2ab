"""Fresh Python processes with TensorFlow already imported, for tests that need a process of their own.

Importing TensorFlow takes some 5 s of processor time. One server serves a whole test run. The server is started when a
test first needs it, imports bnnrl with TensorFlow, runs no operation of TensorFlow, and forks for every request.

A test starts a process by `(*fresh_python(folder), "-c", CODE, *ARGUMENTS)` as by `(sys.executable, "-c", ...)`. The
command is a client without TensorFlow, which asks the server for a process that runs CODE with the client's arguments,
environment, working directory and file descriptors 0 to 2. The client ends as this process ends, passes SIGINT and
SIGTERM on to it, and takes it along when killed.
"""

import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path


def fresh_python(folder: Path) -> tuple[str, ...]:
    """Return the start of a command, to be followed by "-c", code and arguments, that runs the code in a new process.

    Args:
        folder: the folder of the server's socket, which all test processes of one run share.
    """
    if not hasattr(os, "pidfd_open"):  # outside Linux, a process is started in the ordinary way
        return (sys.executable,)
    path = folder / "fork"
    with open(folder / "fork.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            run = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
            command = [sys.executable, "-P", "-W", "ignore", __file__, "serve", str(path), str(run)]
            quiet = subprocess.DEVNULL
            subprocess.run(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True, check=True)
    return sys.executable, "-I", "-S", __file__, str(path)


def _serve(path: Path, run: int) -> None:
    """Open the socket and, in the background, fork for every connection until the process `run` ends."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    if os.fork():
        return  # clients may connect: they wait in line until the server has imported what it needs
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    import bnnrl
    from bnnrl.cli import train  # noqa: F401

    for name in bnnrl.__all__:
        getattr(bnnrl, name)
    ended = os.pidfd_open(run)
    while ended not in select.select([listener, ended], [], [])[0]:
        connection = listener.accept()[0]
        if os.fork() == 0:
            listener.close()
            os.close(ended)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _watch(connection)


def _watch(connection: socket.socket) -> None:
    """Start the process that a client asks for, pass signals on to it, and tell the client how it ended."""
    received, fds, *_ = socket.recv_fds(connection, 2**20, 3)
    size, _, request = received.partition(b"\n")
    while len(request) < int(size):
        request += connection.recv(2**20)
    pid = os.fork()
    if pid == 0:
        connection.close()
        _run(fds, **json.loads(request))
    for fd in fds:
        os.close(fd)
    ended = os.pidfd_open(pid)
    while ended not in select.select([connection, ended], [], [])[0]:
        number = connection.recv(1)
        os.kill(pid, number[0] if number else signal.SIGKILL)
        if not number:
            break
    connection.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    os._exit(0)


def _run(fds: list[int], code: str, argv: list[str], cwd: str, environment: dict[str, str]) -> None:
    """Be the process: run `code` as `python -c` does, and end."""
    import atexit
    import traceback
    import types

    for target, fd in enumerate(fds):
        os.dup2(fd, target)
        os.close(fd)
    # A shell starts its background jobs with SIGINT ignored, and a process inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv, sys.path[0:0] = argv, [cwd]
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    result = 0
    try:
        exec(compile(code, "<string>", "exec"), main.__dict__)
    except SystemExit as end:
        result = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        result = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(result & 255)


def _ask(path: str, code: str, arguments: list[str]) -> None:
    """Be the client: ask for a process, and end as it ends."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    about = {"code": code, "argv": ["-c", *arguments], "cwd": os.getcwd(), "environment": dict(os.environ)}
    request = json.dumps(about).encode()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: connection.send(bytes([number])))
    message = b"%d\n%s" % (len(request), request)
    sent = socket.send_fds(connection, [message], [0, 1, 2])
    connection.sendall(message[sent:])
    result = int(connection.recv(16))
    if result < 0:
        if -result not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-result, signal.SIG_DFL)  # Python ignores some
        os.kill(os.getpid(), -result)
    os._exit(result)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        _ask(sys.argv[1], sys.argv[3], sys.argv[4:])  # the socket's path, "-c", the code, and its arguments
