"""A fake container engine on a socket: real HTTP with prepared responses."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from leafe_gym.sandbox.embedded.inside.wire import Channel, ChannelBroken, packed

Answer = Callable[[], "tuple[int, Any]"]
ID = "c" * 64


class FakeDocker:
    """Sends the responses that tests prepare.

    Attributes:
        asked: "METHOD path" of every request, in order.
        bodies: their bodies.
        answers: pattern -> answers to such requests; the last of them is repeated. An answer is
            (status, JSON), or "die", "hang", "garbage".
        token: what the first process of its container has in memory.
    """

    def __init__(self, folder: Path) -> None:
        self.host = f"unix://{folder}/engine.sock"
        self.asked: list[str] = []
        self.bodies: list[Any] = []
        self.token: str | None = ""
        self.answers: dict[str, list[Any]] = {
            r"GET /version": [(200, {"ApiVersion": "1.41", "Version": "20.10.24"})],
            r"GET /info": [(200, {"DockerRootDir": str(folder), "ExperimentalBuild": True})],
            r"GET /images/\S+/json": [(200, {"Id": "sha256:1"})],
            r"GET /(containers|images)/json": [(200, [])],
            r"POST /containers/create": [(201, {"Id": ID})],
            r"GET /containers/\w+/json": [(200, {"State": {"Pid": 1}})],
            r"POST /containers/\w+/attach": ["attach"],
            r"(POST|DELETE) /": [(204, None)],
        }
        (folder / "containers").mkdir()
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(f"{folder}/engine.sock")
        self._door.listen(20)
        self._open = True
        threading.Thread(target=self._serve, daemon=True).start()

    def tell(self, pattern: str, *answers: Any) -> None:
        """Prepare the responses to matching requests."""
        self.answers.pop(pattern, None)
        self.answers = {pattern: list(answers), **self.answers}

    def close(self) -> None:
        self._open = False
        self._door.close()

    def _serve(self) -> None:
        while self._open:
            try:
                line, _ = self._door.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(line,), daemon=True).start()

    def _talk(self, line: socket.socket) -> None:
        with line, line.makefile("rb") as reader:
            while head := reader.readline():
                method, path, _ = head.decode().split(" ", 2)
                size = 0
                while (field := reader.readline().strip()) != b"":
                    if field.lower().startswith(b"content-length:"):
                        size = int(field.split(b":")[1])
                body = reader.read(size)
                request = f"{method} {re.sub(r'^/v[0-9.]+', '', path).split('?')[0]}"
                self.asked.append(f"{request}?{path.partition('?')[2]}".rstrip("?"))
                self.bodies.append(json.loads(body) if body[:1] == b"{" else None)
                if not self._reply(line, self._answer(request)):
                    return

    def _answer(self, request: str) -> Any:
        for pattern, answers in self.answers.items():
            if re.match(pattern, request):
                return answers.pop(0) if len(answers) > 1 else answers[0]
        return (404, {"message": f"no answer to {request}"})

    def _reply(self, line: socket.socket, answer: Any) -> bool:
        """Send a response; returns whether the connection stays open."""
        if answer == "attach":
            line.sendall(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
            self._first_process(line)
            return False
        if answer == "die":
            return False
        if answer == "hang":
            time.sleep(300)
            return False
        if answer == "garbage":
            line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<html>no!")
            return False
        status, told = answer
        data = b"" if told is None else json.dumps(told).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: "
        line.sendall(f"{head}{len(data)}\r\n\r\n".encode() + data)
        return True

    def _first_process(self, line: socket.socket) -> None:
        """A container's first process, over its attached connection; it starts at once."""
        channel = Channel(line)
        try:
            while True:
                message, _ = channel.receive(10.0)
                if "sources" in message:
                    told: dict[str, Any] = {"ready": True}
                elif message["do"] == "exchange_token" and self.token is not None:
                    told = {"token": self.token, "read_only": True, "sizes": []}
                    self.token = message.get("new", self.token)
                elif message["do"] == "hostile":
                    line.sendall(struct.pack(">BxxxI", 1, 8) + b"\xff" * 8)
                    continue
                else:
                    return
                data = packed(told)
                for at in range(0, len(data), 7):  # in pieces, as an engine may
                    part = data[at : at + 7]
                    line.sendall(struct.pack(">BxxxI", 1, len(part)) + part)
        except ChannelBroken:
            return
