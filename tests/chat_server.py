"""A scripted server with OpenAI's chat API, in a thread of the test."""

import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, BinaryIO

Reply = Callable[[dict[str, Any]], tuple[int, Any]]
"""From the body of a request to the status and the body of its reply; bytes are sent as they are."""


class ChatServer:
    """A chat API on this machine. `reply` makes the answers; requests are kept in `requests`.

    `headers` are added to every reply. A `reply` that raises ConnectionError closes the connection without an
    answer, as a server that dies. `trickle` is the pause in seconds after each byte of a reply.
    """

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.reply: Reply = lambda _: (200, {})
        self.headers: dict[str, str] = {}
        self.trickle = 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                key = self.headers.get("Authorization", "")
                outer.requests.append({"path": self.path, "authorization": key, **body})
                try:
                    status, reply = outer.reply(body)
                except ConnectionError:
                    self.close_connection = True
                    return
                data = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
                # The client may have given up.
                with suppress(OSError):
                    self.send_response(status)
                    for name, value in outer.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    outer.write(self.wfile, data)

            def log_message(self, *_: object) -> None:
                """Nothing is printed."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    def write(self, stream: BinaryIO, data: bytes) -> None:
        """Write the body of a reply, at once or byte by byte."""
        if not self.trickle:
            stream.write(data)
            return
        for index in range(len(data)):
            stream.write(data[index : index + 1])
            time.sleep(self.trickle)


@contextmanager
def serving() -> Iterator[ChatServer]:
    """A scripted server that runs in the block."""
    server = ChatServer()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()


def completion(text: str, visible: float | None = None, prompt_tokens: int | None = None) -> dict[str, Any]:
    """A reply with an answer in the format `json`.

    Its tokens are the start, the decision, and single characters. `visible` is the probability of the
    decision; None: the reply has no log-probabilities.
    """
    choice: dict[str, Any] = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    if visible is not None:
        choice["logprobs"] = {"content": [_token(each, visible) for each in TOKENS.findall(text)]}
    return {"choices": [choice]} | ({"usage": {"prompt_tokens": prompt_tokens}} if prompt_tokens else {})


TOKENS = re.compile(r'\{"visible":| true| false|.', re.DOTALL)
DIGIT = 0.8  # probability of every token that is not the decision


def _token(text: str, visible: float) -> dict[str, Any]:
    options = {" true": visible, " false": 1 - visible} if text in (" true", " false") else {text: DIGIT}
    listed = [
        {"token": token, "logprob": math.log(max(share, 1e-9)), "bytes": list(token.encode())}
        for token, share in options.items()
    ]
    (own,) = (each for each in listed if each["token"] == text)
    return {**own, "top_logprobs": listed}
