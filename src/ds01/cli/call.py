"""One call of a command: what was typed, and the ways to the daemon and to the person."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from ds01.cli.screen import Screen
from ds01.client import Client
from ds01.errors import Ds01Error

TYPE_CHECKING = False  # see client.session
if TYPE_CHECKING:
    from typing import Any


class Process:
    """What is the same for everything in one process.

    Attributes:
        environment: The environment.
        screen: The output streams.
        wants_json: Errors are to be problem documents.
        words: What was typed after `ds01`.
    """

    def __init__(self, environment: Mapping[str, str], words: Sequence[str] = ()) -> None:
        self.environment = environment
        self.words = tuple(words)
        self.screen = Screen(environment)
        self.wants_json = False
        self._client: Client | None = None

    def client(self) -> Client:
        """Return the client; a personal daemon is started when it is first asked."""
        if self._client is None:
            self._client = Client.from_environment(self.environment, os.getuid())
        return self._client

    def client_of_running(self) -> Client:
        """Return a client that starts nothing."""
        return Client.from_environment(self.environment, os.getuid(), may_start=False)

    def report(self, error: Ds01Error) -> None:
        """Say what failed: words for a person, a problem document for a program. Both are messages: stderr."""
        if not self.wants_json:
            self.screen.failure(error.message, error.hint)
            return
        import json

        from ds01.api.problem import problem_of

        self.screen.tell(json.dumps(problem_of(error)))


class Call:
    """A command with its values.

    Attributes:
        process: The process.
        values: Values of arguments and options.
        verb: How the verb was typed; empty where nothing is asked about it.
        tail: Words of the program to run; None if `--` was not typed.
        form: How the command's noun was typed: `ds01` or `ds01 container`; hints use the same form.
    """

    def __init__(
        self,
        process: Process,
        values: Mapping[str, Any],
        *,
        form: str = "ds01",
        verb: str = "",
        tail: Sequence[str] | None = None,
    ) -> None:
        self.process = process
        self.screen = process.screen
        self.environment = process.environment
        self.values = values
        self.form = form
        self.verb = verb
        self.tail = list(tail) if tail is not None else None

    def with_values(self, values: Mapping[str, Any]) -> Call:
        """Return the same call with other values."""
        return Call(self.process, values, form=self.form, verb=self.verb, tail=self.tail)

    @property
    def client(self) -> Client:
        """The client."""
        return self.process.client()

    def flag(self, key: str) -> bool:
        """Return whether an option was given."""
        return bool(self.values.get(key))

    def text(self, key: str) -> str | None:
        """Return the value of an option or argument; None if it was not given."""
        value = self.values.get(key)
        return None if value is None else str(value)

    def number(self, key: str) -> int | None:
        """Return the value of an option with a whole number."""
        value = self.values.get(key)
        return None if value is None else int(value)

    def texts(self, key: str) -> list[str]:
        """Return the values of what may be given more than once."""
        return [str(value) for value in self.values.get(key) or ()]

    @property
    def output_format(self) -> str:
        """How a list is to be printed: table, json, csv or name."""
        if self.flag("json"):
            return "json"
        return self.text("format") or ("name" if self.flag("quiet") else "table")

    @property
    def can_ask(self) -> bool:
        """A person is there and has not forbidden questions."""
        if self.flag("no_input") or self.flag("script") or self.flag("json"):
            return False
        return sys.stdin is not None and sys.stdin.isatty() and self.screen.error_is_terminal

    @property
    def must_confirm(self) -> bool:
        """A question before something is lost can be asked, and was not answered beforehand."""
        return self.can_ask and not self.flag("yes")

    def command(self, *words: str) -> str:
        """Return a command to copy, in the form that was typed."""
        return " ".join([self.form, *words])

    def done(self, text: str, name: str) -> None:
        """Say that something was done to a container: words for a person, its name for a program."""
        self.screen.success(text)
        if not (self.screen.error_is_terminal and self.screen.out_is_terminal) and not self.flag("json"):
            self.screen.data(name)
