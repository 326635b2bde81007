"""Every deliberate error of DS01. Imports nothing.

    Ds01Error                      HTTP  exit
    ├── InvalidRequestError         400    2    malformed request, usage
    ├── ForbiddenError              403    4    this user may not do this
    │   └── QuotaExceededError      403    4    ... because a limit is reached
    ├── NotFoundError               404    3    no such resource, or hidden from this user
    ├── ConflictError               409    8    the resource's state forbids it, or the name is taken
    │   └── NoCapacityError         409    5    too few free GPUs now; waiting would help
    ├── BackendError                502    7    Docker, NVML, SQLite or Slurm failed: state unknown
    │   ├── BackendTimeoutError     504    7
    │   └── BuildStepError          502    7    a step of a build failed: the words are the builder's
    ├── WaitTimeoutError             -     6    waited and gave up; the place in the queue may be kept
    └── DaemonUnreachableError       -     7

A new subclass exists only where a caller must act differently. Everything else is said in `message` (what happened),
`hint` (what to do next, a command to copy) and `details` (figures for programs).
"""

from collections.abc import Mapping

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_INTERRUPTED = 130


class Ds01Error(Exception):
    """Anything DS01 refuses or fails to do, said so that a person can act on it.

    Attributes:
        code: Stable name for programs.
        http_status: Status of the HTTP answer; None if the error never crosses the wire.
        exit_status: Exit status of the command line.
        title: One phrase for the kind of error.
        message: What happened, with the name of the thing.
        hint: What to do next, if anything helps.
        details: Figures and names for programs.
    """

    code = "error"
    http_status: int | None = 500
    exit_status = EXIT_FAILURE
    title = "The request failed"

    def __init__(self, message: str, *, hint: str | None = None, details: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details: dict[str, object] = dict(details or {})

    def __str__(self) -> str:
        return self.message


class InvalidRequestError(Ds01Error):
    """The request is malformed: nothing was changed."""

    code = "invalid_request"
    http_status = 400
    exit_status = 2
    title = "The request is not valid"


class ForbiddenError(Ds01Error):
    """This user may not do this."""

    code = "forbidden"
    http_status = 403
    exit_status = 4
    title = "Not allowed"


class QuotaExceededError(ForbiddenError):
    """A limit of the site's policy is reached; `details` holds both figures."""

    code = "quota_exceeded"
    title = "A limit is reached"


class NotFoundError(Ds01Error):
    """No such resource, or one this user may not see."""

    code = "not_found"
    http_status = 404
    exit_status = 3
    title = "Not found"


class ConflictError(Ds01Error):
    """The resource's state forbids it, or the name is taken."""

    code = "conflict"
    http_status = 409
    exit_status = 8
    title = "The state forbids it"


class NoCapacityError(ConflictError):
    """Too few free GPUs now; waiting would help."""

    code = "no_capacity"
    exit_status = 5
    title = "No free GPU"


class BackendError(Ds01Error):
    """Docker, NVML or SQLite failed: the state is unknown, which is never "none"."""

    code = "backend_failed"
    http_status = 502
    exit_status = 7
    title = "A part of the system failed"


class BackendTimeoutError(BackendError):
    """A backend did not answer in time."""

    code = "backend_timeout"
    http_status = 504
    title = "A part of the system did not answer"


class BuildStepError(BackendError):
    """A step of a build failed. The engine is well: what the step printed says why."""

    code = "build_step_failed"
    title = "A step of the build failed"


class WaitTimeoutError(Ds01Error):
    """Waited and gave up; the place in the queue may be kept."""

    code = "wait_timeout"
    http_status = None
    exit_status = 6
    title = "Waited too long"


class DaemonUnreachableError(Ds01Error):
    """The daemon does not answer on its socket."""

    code = "daemon_unreachable"
    http_status = None
    exit_status = 7
    title = "ds01d does not answer"


def all_error_classes() -> tuple[type[Ds01Error], ...]:
    """Return every error class, parents first: the mapping tables are tested against this."""
    found: list[type[Ds01Error]] = []
    waiting: list[type[Ds01Error]] = [Ds01Error]
    while waiting:
        error_class = waiting.pop(0)
        found.append(error_class)
        waiting.extend(error_class.__subclasses__())
    return tuple(found)
