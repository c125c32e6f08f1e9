"""A client for servers with OpenAI's chat API: vLLM, SGLang, `transformers serve`, and others.

Requests run concurrently (asyncio, with the package `openai`). Each has a time limit. Those that fail for a
reason that may pass are repeated with exponential back-off. A server that does not recover is not asked again
and again: after `MAX_FAILURES` failed batches in a row the client refuses at once.
"""

import asyncio
import math
import os
import random
import threading
import weakref
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from configs.errors import UserError
from configs.terminal import shortened
from models.serving.chat_format import (
    TOP_LOGPROBS,
    Chat,
    NoLogprobsError,
    ReplyError,
    chat_with_images,
    parse_reply,
)
from models.serving.free_answers import Generated
from models.serving.server import Server, check_server

Result = TypeVar("Result")

LARGEST_REPLY = (
    1 << 24
)  # bytes; a thought of 1024 tokens with 20 alternatives for each takes about two million
SHOWN = 60  # letters of a reply in a message
MAX_FAILURES = 3  # failed batches in a row after which the server is not asked any more
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds between two attempts
# Servers take the defaults of sampling from the checkpoint's generation_config.json, in which Qwen2.5-VL has
# a repetition penalty of 1.05: it would change the digits of boxes. The field is not part of OpenAI's API.
PENALTY = "repetition_penalty"
# 408 and 425: the server asks for the request again. 409: it is locked. 429: too many requests.
TEMPORARY = frozenset({408, 409, 425, 429})


class _UnavailableError(UserError):
    """The server cannot be reached, is too slow, or fails. It may work again later."""


class _AttemptError(Exception):
    """Why one attempt failed.

    `max_attempts` limits the number of attempts, and `pause` is the time in seconds that the server asks to
    wait before the next one; None: it does not say.
    """

    def __init__(
        self, reason: str, remedy: str, max_attempts: int | None = None, pause: float | None = None
    ) -> None:
        super().__init__(reason)
        self.reason, self.remedy, self.max_attempts, self.pause = reason, remedy, max_attempts, pause


class _EventLoop:
    """An event loop in a thread of its own, so that a signal in the main thread ends waiting at once."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # A daemon: it does not keep the process from ending.
        threading.Thread(target=self._loop.run_forever, name="chat client", daemon=True).start()

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine, and return its result."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # after a signal; otherwise it is done already
            raise

    def stop(self, last: Coroutine[Any, Any, None]) -> None:
        """Run a last coroutine, and end the thread. Returns at once, in any thread."""
        future = asyncio.run_coroutine_threadsafe(last, self._loop)
        future.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._loop.stop))


class ChatClient:
    """Generates answers on a server.

    Attributes:
        num_retries: The number of attempts that were repeated so far.
    """

    def __init__(self, server: Server) -> None:
        """Raises UserError where the URL is none, or the package `openai` is missing."""
        check_server(server.url_key, server.url)
        from openai import AsyncOpenAI

        self.server, self.num_retries, self._failures = server, 0, 0
        self._extensions: dict[str, Any] = {PENALTY: 1.0}
        if server.thinking is not None:
            # Not part of OpenAI's API, but vLLM, SGLang and transformers read it.
            self._extensions["chat_template_kwargs"] = {"enable_thinking": server.thinking}
        self._secret = os.environ.get(server.key_variable, "")
        self._loop = _EventLoop()
        # Time limits and repetitions are those of `_ask`. The package's own time limit starts again with
        # every byte that is received, so an answer that trickles in would never end.
        self._client = AsyncOpenAI(
            base_url=server.url, api_key=self._secret or "none", timeout=None, max_retries=0
        )
        weakref.finalize(self, _close, self._loop, self._client)

    def generate(self, chats: Sequence[Chat]) -> list[Generated]:
        """The answers to chats, in their order, by greedy decoding.

        Raises UserError where the server refuses a request, and where it gives no answer after all
        repetitions. After such a failure the next batches are tried once, without repetitions, until one
        succeeds. After `MAX_FAILURES` in a row nothing is sent any more.
        """
        if self._failures >= MAX_FAILURES:
            raise UserError(
                f"{self.server.named}: the server has failed {self._failures} times in a row and is not "
                "asked any more; restart it, then run the same command again to track what is missing"
            )
        retries = 0 if self._failures else self.server.retries
        try:
            generated = self._loop.run(self._ask_all(chats, retries))
        except _UnavailableError:
            self._failures += 1
            raise
        self._failures = 0
        return generated

    async def _ask_all(self, chats: Sequence[Chat], retries: int) -> list[Generated]:
        """The answers to all chats; at most `concurrency` requests are open at a time."""
        slots = asyncio.Semaphore(self.server.concurrency)
        tasks = [asyncio.create_task(self._ask(chat, slots, retries)) for chat in chats]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            # After a failure the other answers of the batch are of no use.
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, chat: Chat, slots: asyncio.Semaphore, retries: int) -> Generated:
        """The answer to one chat, in at most `retries` + 1 attempts."""
        async with slots:
            # In a thread, because encoding images takes milliseconds, in which other requests go on.
            body = await asyncio.to_thread(self._body, chat)
            attempts = 0
            while True:
                attempts += 1
                try:
                    return await self._attempt(body)
                except _AttemptError as fault:
                    if attempts >= min(fault.max_attempts or retries + 1, retries + 1):
                        tried = f" in {attempts} attempts" if attempts > 1 else ""
                        raise _UnavailableError(
                            f"{self.server.named}: {fault.reason}{tried}; {fault.remedy}"
                        ) from None
                    pause = _pause(attempts) if fault.pause is None else min(fault.pause, LONGEST_PAUSE)
                self.num_retries += 1
                await asyncio.sleep(pause)

    async def _attempt(self, body: Mapping[str, Any]) -> Generated:
        """One request.

        Raises _AttemptError where it may be repeated, and UserError where the server refuses it.
        """
        server = self.server
        try:
            async with asyncio.timeout(server.timeout):
                reply = await self._receive(body)
        except TimeoutError:
            # An answer that took too long is likely to take as long again, so there is one repetition only.
            raise _AttemptError(
                f"gives no answer within {server.timeout:g} s",
                f"it hangs or is too slow: {server.slow_remedy}",
                max_attempts=2,
            ) from None
        try:
            return parse_reply(reply, server.logprobs)
        except NoLogprobsError:
            raise self._no_logprobs() from None
        except ReplyError as fault:
            # A proxy may have written it while the server was restarted, so it is asked once more.
            raise _AttemptError(
                f"its reply {fault}" + (f": {self._shown(fault.text)}" if fault.text else ""),
                f"it is not a chat API of OpenAI's form; check {server.url_key}=",
                max_attempts=2,
            ) from None

    async def _receive(self, body: Mapping[str, Any]) -> bytes:
        """The bytes of the reply to one request."""
        import openai

        create = self._client.chat.completions.with_streaming_response.create
        received, extensions = bytearray(), dict(self._extensions)
        try:
            async with create(**body, extra_body=extensions) as response:
                async for chunk in response.iter_bytes():
                    received += chunk
                    if len(received) > LARGEST_REPLY:
                        raise UserError(
                            f"{self.server.named}: a reply has more than {LARGEST_REPLY} bytes; it is not a "
                            f"chat API of OpenAI's form; check {self.server.url_key}="
                        )
        except openai.APIStatusError as fault:
            is_about_penalty = fault.status_code in (400, 422) and PENALTY in fault.response.text
            if is_about_penalty and PENALTY in extensions:
                # transformers refuses the field, and takes the penalty from `frequency_penalty`.
                self._extensions.pop(PENALTY, None)
                return await self._receive(body)
            raise self._refused(fault) from None
        except Exception as fault:
            # openai translates errors of its HTTP library up to the headers of a reply, but not of its body.
            if not isinstance(fault, (openai.APIConnectionError, OSError)) and not _is_of_http(fault):
                raise
            cause = fault.__cause__ or fault
            reason = self._shown(str(cause) or type(cause).__name__)
            raise _AttemptError(f"gives no answer ({reason})", "is the server running?") from None
        return bytes(received)

    def _body(self, chat: Chat) -> dict[str, Any]:
        """The arguments of a request."""
        server = self.server
        body: dict[str, Any] = {
            "model": server.model,
            "messages": chat_with_images(chat.messages, chat.images),
            "temperature": 0,
            "frequency_penalty": 0,
            "max_tokens": server.max_tokens,
        }
        if server.logprobs:
            body |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
        return body

    def _refused(self, fault: Any) -> Exception:
        """What an HTTP status of 4xx or 5xx means."""
        server, code, text = self.server, int(fault.status_code), fault.response.text
        said = f"{server.url.rstrip('/')}/chat/completions answered {code} ({self._shown(text)})"
        if code in TEMPORARY or code >= 500:
            remedy = "see the server's log" if code >= 500 else server.slow_remedy
            return _AttemptError(said, remedy, pause=_retry_after(fault.response.headers))
        if code in (401, 403):
            return UserError(
                f"{server.named}: {said}; put its key into the environment variable {server.key_variable}"
            )
        if server.logprobs and "logprobs" in text:
            return self._no_logprobs()
        return UserError(f"{server.named}: {said}; check {server.url_key}= and {server.model_key}=")

    def _no_logprobs(self) -> UserError:
        return UserError(
            f"{self.server.named}: the server gives no log-probabilities, from which visible probabilities "
            "are read; take a server that does (vLLM, SGLang), or engine.logprobs=false, with which an "
            "answer is visible or not and thresholds of the tracker have no effect"
        )

    def _shown(self, text: str) -> str:
        """A text of the server for a message: one short line, without the key."""
        if self._secret:
            text = text.replace(self._secret, "…")
        return repr(shortened(" ".join(text.split()), SHOWN))


def _close(loop: _EventLoop, client: Any) -> None:
    """Close the connections and the event loop, when the client is deleted or the process ends."""
    loop.stop(client.close())


def _is_of_http(fault: Exception) -> bool:
    """Whether an exception is one of the HTTP library of `openai`, whose name depends on its version."""
    return type(fault).__module__.startswith(("httpx", "httpcore"))


def _pause(attempts: int) -> float:
    """Seconds to wait after so many attempts: doubled each time, with jitter.

    The jitter prevents that requests which failed together are repeated together.
    """
    return min(FIRST_PAUSE * 2 ** (attempts - 1), LONGEST_PAUSE) * random.uniform(0.5, 1.0)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that a server asks to wait; None where it does not say."""
    try:
        seconds = float(headers["retry-after"])
    except (KeyError, ValueError):  # it may also be a date, which servers of models do not send
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
