"""A conversation in the terminal. Answers are streamed; Ctrl-C stops the answer, not the conversation.

In a pipe, each line is a turn, and standard output holds the answers only.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, cast

from rich.text import Text

from ziggurat.console import err, human_count, out
from ziggurat.errors import ContextError
from ziggurat.records import Message

if TYPE_CHECKING:
    from ziggurat.dialogue.chat import Chat
    from ziggurat.dialogue.desk import Delta
    from ziggurat.engine.params import SamplingParams

HELP = """\
/new            begin a new conversation
/system TEXT    set the system message (without TEXT: remove it) and begin a new conversation
/retry          answer the last question again
/quit           leave (so does Ctrl-D; Ctrl-C stops an answer)"""
# Control characters that a terminal acts on, except newline and tab.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Replace control characters by U+FFFD: a model's text must not move the cursor or change colours.

    >>> printable("a\\x1b[2Jb")
    'a\\ufffd[2Jb'
    """
    return _CONTROLS.sub("\ufffd", text)


def converse(chat: Chat, params: SamplingParams, *, system: str | None = None, plain: bool = False) -> None:
    """Run a conversation until the input ends."""
    Conversation(chat, params, system, plain=plain or not out.is_terminal).run()


class Conversation:
    """The turns of one conversation, and the terminal that shows them."""

    def __init__(self, chat: Chat, params: SamplingParams, system: str | None, *, plain: bool) -> None:
        self.chat, self.params, self.system, self.plain = chat, params, system, plain
        self.interactive = sys.stdin.isatty()
        self.messages: list[Message] = []
        self._begin()

    def run(self) -> None:
        if self.interactive:
            self._greet()
        for line in self._lines():
            if self.interactive and line.startswith("/"):
                if not self._command(line):
                    return
            elif line.strip():
                self._turn(line)

    # --- input --------------------------------------------------------------------------------------------------

    def _greet(self) -> None:
        size = f"{human_count(self.chat.parameters)} parameters, context {self.chat.context:,} tokens"
        err.print(f"{self.chat.name}: {size}. /help shows the commands.", style=None if self.plain else "dim")
        if self.chat.is_base:
            err.print("This is a base model: it was not trained to answer. It continues your text.")

    def _lines(self) -> Iterator[str]:
        if not self.interactive:
            yield from (line.rstrip("\n") for line in sys.stdin)
            return
        import readline  # noqa: F401 - line editing and history for input()

        while True:
            try:
                yield input("> ")
            except EOFError:
                err.print()
                return

    def _command(self, line: str) -> bool:
        """Run a command line that begins with a slash; False ends the conversation."""
        name, _, argument = line.partition(" ")
        if name in ("/quit", "/exit", "/q"):
            return False
        if name == "/new":
            self._begin()
            err.print("A new conversation.")
        elif name == "/system":
            self.system = argument.strip() or None
            self._begin()
            err.print("A new conversation with this system message." if self.system else "No system message.")
        elif name == "/retry":
            questions = [i for i, message in enumerate(self.messages) if message.role == "user"]
            if questions:
                question = self.messages[questions[-1]].content
                del self.messages[questions[-1] :]
                self._turn(question)
            else:
                err.print("There is no question yet.")
        else:
            err.print(HELP)
        return True

    # --- turns --------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self.messages = [Message(role="system", content=self.system)] if self.system else []

    def _turn(self, question: str) -> None:
        self.messages.append(Message(role="user", content=question))
        asked = self.messages[-1:] if self.chat.is_base else self.messages
        kept, dropped = self.chat.fit(asked, self.params.max_tokens)
        if dropped:
            err.print(f"(The conversation no longer fits; the oldest {dropped} messages were left out.)")
        try:
            answer = self._show(kept)
        except ContextError as error:
            self.messages.pop()
            err.print(str(error))
            return
        self.messages.append(Message(role="assistant", content=answer))

    def _show(self, messages: list[Message]) -> str:
        """Stream one answer. After Ctrl-C, the part that was shown is the answer."""
        parts: list[str] = []
        t0 = time.perf_counter()
        # A stream is a generator; closing it frees the engine's slot.
        stream = cast("Generator[Delta, None, None]", self.chat.stream(messages, self.params))
        tokens, note = 0, ""
        try:
            for delta in stream:
                parts.append(delta.text)
                self._write(delta.text)
                if delta.usage:
                    tokens = delta.usage.completion_tokens
                    note = ", cut at the length limit" if delta.finish == "length" else ""
        except KeyboardInterrupt:
            note = "stopped"
        finally:
            stream.close()
        sys.stdout.write("\n")
        sys.stdout.flush()
        if self.interactive and not self.plain:
            speed = f"{tokens} tokens, {tokens / max(time.perf_counter() - t0, 1e-9):.0f} per second"
            err.print(Text(f"({speed}{note})" if tokens else f"({note})", style="dim"))
        return "".join(parts)

    def _write(self, text: str) -> None:
        sys.stdout.write(printable(text))
        sys.stdout.flush()
