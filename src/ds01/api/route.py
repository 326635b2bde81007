"""What a route is: a line of the table in `ds01.api.routes`."""

from dataclasses import dataclass
from typing import Literal

from ds01.api.schema import ProgressMessage

AnswerKind = Literal["json", "stream", "bytes", "upgrade"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter.

    Attributes:
        name: Its name.
        type: boolean, integer or string.
        meaning: One sentence.
    """

    name: str
    type: Literal["boolean", "integer", "string"]
    meaning: str


@dataclass(frozen=True, slots=True)
class Route:
    """One route.

    Attributes:
        name: Name of the handler and OpenAPI operation id.
        method: HTTP method.
        path: Path with `{parameters}`.
        summary: One sentence.
        answer: Document of the answer; None for bytes.
        body: Document of the request; None without one.
        parameters: Query parameters.
        answer_kind: json; stream: also lines of `lines` when asked for; bytes; upgrade: raw bytes after 101.
        errors: Codes of the errors it answers with, beside `invalid_request` and `backend_failed`.
        lines: Document of one line of a stream.
        takes_archive: The body is a tar of any length, read as it comes.
    """

    name: str
    method: Literal["GET", "POST", "DELETE"]
    path: str
    summary: str
    answer: type | None
    body: type | None = None
    parameters: tuple[Parameter, ...] = ()
    answer_kind: AnswerKind = "json"
    errors: tuple[str, ...] = ()
    lines: type = ProgressMessage
    takes_archive: bool = False
