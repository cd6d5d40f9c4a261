"""What Snakemake starts for a job in place of Python: hands the job to a server that forks, and ends as the job does.

    python -I -S forkclient.py SOCKET PYTHON SCRIPT

It imports nothing but a little of the standard library. Where no server answers, or one that was started in another
environment, it becomes Python with the script. Signals that are sent to all processes of a run reach the job itself, so
here they are ignored; when this process is killed, the server kills the job.
"""

import json
import os
import signal
import socket
import sys
from typing import NamedTuple

OTHER = 1000
"""In place of an exit status: the server was started in another environment."""


class Request(NamedTuple):
    """A job as it is handed over.

    Attributes:
        script: path of the script.
        folder: working directory.
        environment: variables.
        umask: of new files.
        files: descriptors that become standard input, output and error.
    """

    script: str
    folder: str
    environment: dict[str, str]
    umask: int
    files: list[int]


def send(server: socket.socket, script: str) -> None:
    """Hand this process's place in the world to a server: environment, folder, open files."""
    umask = os.umask(0)
    os.umask(umask)
    text = json.dumps([script, os.getcwd(), dict(os.environ), umask]).encode()
    socket.send_fds(server, [len(text).to_bytes(8, "little")], [0, 1, 2])
    server.sendall(text)


def receive(client: socket.socket) -> Request | None:
    """Take what :func:`send` sends; None where the client went away before it had said all."""
    head, files, _, _ = socket.recv_fds(client, 8, 3)
    text, size = b"", int.from_bytes(head, "little")
    while len(text) < size and (part := client.recv(size - len(text))):
        text += part
    if len(head) < 8 or len(text) < size or len(files) < 3:
        for descriptor in files:
            os.close(descriptor)
        return None
    script, folder, environment, umask = json.loads(text)
    return Request(script, folder, environment, umask, files)


def main(path: str, python: str, script: str) -> None:
    """Have a script run, and end as it ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    status = _asked(path, script)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    if status == OTHER:
        os.execv(python, [python, script])
    if status < 0:
        os.kill(os.getpid(), -status)
    sys.exit(status if status >= 0 else 128 - status)


def _asked(path: str, script: str) -> int:
    """Return how a script ended that a server ran: its exit status, or minus the number of the signal that ended it."""
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.connect(path)
            send(server, script)
        except OSError:
            return OTHER
        try:
            return int(server.recv(16) or -signal.SIGKILL)
        except OSError:
            return -signal.SIGKILL  # the server was killed, and its jobs with it


if __name__ == "__main__":
    main(*sys.argv[1:])
