"""How commands reach a running board: a unix socket each, in a folder of the user's own.

A request is one line of JSON, `{"do": "status"}` or `{"do": "fault", "fault": …, "quantity": …, "for_s": …}`; the
answer is one line, `{"ok": true, …}` or `{"ok": false, "error": …}`. The socket's name is a hash of the link's path, so
whoever knows the link finds the board, also while it is unplugged and the link is gone.
"""

import contextlib
import hashlib
import json
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from firmware_sim.errors import Refused, SimError, Unavailable

TIMEOUT_S = 5.0
REQUEST_S = 0.2  # how long a board waits for a request once somebody has connected: its model waits, too
MAX_REQUEST_BYTES = 4096
MAX_ANSWER_BYTES = 65_536
NAME_CHARS = 24

Message = dict[str, Any]


def folder() -> Path:
    """Return the folder of the sockets, made if it is missing; raises Unavailable if it is somebody else's."""
    path = Path(tempfile.gettempdir()) / f"firmware-sim-{os.getuid()}"
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        owner = path.stat(follow_symlinks=False).st_uid
    except OSError as error:
        raise Unavailable(f"{path} cannot be made: {error.strerror}.") from error
    if owner != os.getuid():
        raise Unavailable(f"{path} belongs to somebody else.", hint="Set TMPDIR to a folder of your own.")
    return path


def socket_path(link: Path) -> Path:
    """Return where the board behind a link listens."""
    absolute = os.path.abspath(link)  # noqa: PTH100 - Path.resolve would follow the link to the pty
    return folder() / f"{hashlib.sha256(absolute.encode()).hexdigest()[:NAME_CHARS]}.sock"


class Control:
    """The board's end: answers one request a connection by calling `answer`."""

    def __init__(self, link: Path, answer: Callable[[Message], Message]) -> None:
        self._link = link
        self._answer = answer
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._listener)
            self._bind()
            stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._path.unlink(missing_ok=True)
        self._listener.close()

    def fileno(self) -> int:
        """Return the file descriptor to poll."""
        return self._listener.fileno()

    def serve(self) -> None:
        """Answer one waiting connection, if there is one."""
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return
        with connection, contextlib.suppress(OSError):  # whoever asked may be gone
            connection.settimeout(REQUEST_S)
            try:
                answer = {"ok": True, **self._answer(json.loads(_line(connection, MAX_REQUEST_BYTES)))}
            except SimError as error:
                answer = {"ok": False, "error": error.message, "hint": error.hint}
            except ValueError:
                answer = {"ok": False, "error": "That is not a request.", "hint": ""}
            connection.sendall(json.dumps(answer).encode() + b"\n")

    def _bind(self) -> None:
        self._path = socket_path(self._link)
        if _alive(self._path):
            raise Unavailable(f"A board runs on {self._link} already.", hint="Stop it, or name another --link.")
        self._path.unlink(missing_ok=True)
        self._listener.bind(str(self._path))
        self._listener.listen()
        self._listener.setblocking(False)  # noqa: FBT003 - its only argument


def ask(link: Path, request: Message) -> Message:
    """Send a request to the board behind a link and return its answer; raises Refused or Unavailable."""
    try:
        answer = _ask(socket_path(link), request)
    except OSError as error:
        raise Unavailable(f"No board runs on {link}.", hint="`firmware-sim list` shows those that do.") from error
    if not answer.get("ok"):
        raise Refused(str(answer.get("error", "refused")), hint=str(answer.get("hint", "")))
    return answer


def running() -> list[Message]:
    """Return the status of each running board of this user; sockets that nobody answers are removed."""
    found = []
    for path in sorted(folder().glob("*.sock")):
        try:
            found.append(_ask(path, {"do": "status"}))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except OSError:
            continue
    return found


def _alive(path: Path) -> bool:
    try:
        _ask(path, {"do": "status"})
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    except OSError:
        return True
    return True


def _ask(path: Path, request: Message) -> Message:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIMEOUT_S)
        connection.connect(str(path))
        connection.sendall(json.dumps(request).encode() + b"\n")
        try:
            answer = json.loads(_line(connection, MAX_ANSWER_BYTES))
        except ValueError as error:
            raise ConnectionAbortedError(str(error)) from error
    if not isinstance(answer, dict):
        raise ConnectionAbortedError("not an object")
    return answer


def _line(connection: socket.socket, most_bytes: int) -> bytes:
    received = b""
    while not received.endswith(b"\n") and len(received) <= most_bytes:
        data = connection.recv(4096)
        if not data:
            break
        received += data
    return received
