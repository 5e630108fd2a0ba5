"""A plain TCP relay whose connections a test can cut: what lies between a page and a server breaks now and then."""

from __future__ import annotations

import contextlib
import socket
import threading


class Relay:
    """Listens on 127.0.0.1 and passes bytes both ways to `port`. `cut` resets whatever is open now."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._open: list[socket.socket] = []
        self._all: list[socket.socket] = []
        self._passing: list[threading.Thread] = []
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._door.getsockname()[1])
        self.cuts = 0
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def cut(self) -> None:
        """Break every connection that is open."""
        self.cuts += len(self._open) // 2
        for each in self._open:
            _end(each)
        self._open.clear()

    def close(self) -> None:
        """Cut, and listen no more."""
        _end(self._door)
        self._acceptor.join(5)
        self._door.close()
        self.cut()
        for thread in self._passing:
            thread.join(5)
        for each in self._all:
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._door.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._open += [near, far]
                self._all += [near, far]
                for a, b in ((near, far), (far, near)):
                    thread = threading.Thread(target=_pass, args=(a, b), daemon=True)
                    thread.start()
                    self._passing.append(thread)


def _pass(a: socket.socket, b: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := a.recv(65_536):
            b.sendall(data)
    _end(a)
    _end(b)


def _end(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
