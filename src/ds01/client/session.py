"""The client: one method for each route of `api.routes`, under the route's name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ds01.api.place import find_place
from ds01.client.calls import ACTING_TIMEOUT_S, LINES_TYPE, query_of
from ds01.client.image_calls import ImageCalls
from ds01.client.renewal_calls import RenewalCalls
from ds01.client.transport import READING_TIMEOUT_S, Request, error_from, parse_document
from ds01.client.waiting import WaitingCalls
from ds01.client.wire import SWITCHING_PROTOCOLS, Answer, Connection, broken, quote, segment

TYPE_CHECKING = False  # the name that checkers know, without the import of typing that costs 5 ms
if TYPE_CHECKING:
    from ds01.api import schema

STREAM_PROTOCOL = "ds01-stream"


class Client(WaitingCalls, ImageCalls, RenewalCalls):
    """Asks the daemon of one place. Every request has its own connection; nothing is kept open in between."""

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str], uid: int, *, may_start: bool = True, timeout_s: float = READING_TIMEOUT_S
    ) -> Client:
        """Return the client for this user's daemon."""
        return cls(find_place(environment, uid), may_start=may_start, timeout_s=timeout_s)

    def get_status(self) -> schema.StatusDocument:
        """Return the machine at a glance."""
        answer: schema.StatusDocument = self._get("/v1/status")
        return answer

    def list_containers(self, *, everybody: bool = False, uid: int | None = None) -> schema.ContainerList:
        """Return the caller's containers, or everybody's as far as the caller may see them."""
        answer: schema.ContainerList = self._get("/v1/containers" + query_of(all=everybody, uid=uid))
        return answer

    def create_container(self, body: schema.CreateContainerBody) -> schema.CreatedContainer:
        """Create a container, or with dry_run say what would be created."""
        answer: schema.CreatedContainer = self._act("POST", "/v1/containers", body)
        return answer

    def stream_creation(self, body: schema.CreateContainerBody) -> Iterator[schema.ProgressMessage]:
        """Create a container and yield its progress; the last message is the result.

        Closing the iterator before closes the connection, and the daemon undoes what it has made.

        Raises:
            Ds01Error: The creation failed; what was made is undone.
        """
        return self._stream("/v1/containers", body, "the creation")

    def get_container(
        self, name: str, *, inspect: bool = False, uid: int | None = None
    ) -> schema.ContainerDetailsDocument:
        """Return one container; with `inspect` also the engine's own document."""
        answer: schema.ContainerDetailsDocument = self._get(_of(name) + query_of(inspect=inspect, uid=uid))
        return answer

    def start_container(
        self, name: str, body: schema.StartContainerBody | None = None, *, uid: int | None = None
    ) -> schema.StartedContainer:
        """Start a container, or find it running."""
        answer: schema.StartedContainer = self._act("POST", _of(name) + "/start" + query_of(uid=uid), body or {})
        return answer

    def stream_start(self, name: str, body: schema.StartContainerBody) -> Iterator[schema.ProgressMessage]:
        """Start a container that may wait for its GPUs and yield the progress; the last message is the result.

        Closing the iterator before leaves its place in the queue as it is.

        Raises:
            Ds01Error: It could not be started.
        """
        return self._stream(_of(name) + "/start", body, "the start")

    def move_container(
        self, name: str, body: schema.MoveContainerBody, *, uid: int | None = None
    ) -> schema.MovedContainer:
        """Start a stopped container on other GPUs, or with dry_run say what that would be."""
        answer: schema.MovedContainer = self._act("POST", _of(name) + "/move" + query_of(uid=uid), body)
        return answer

    def stream_move(self, name: str, *, uid: int | None = None) -> Iterator[schema.ProgressMessage]:
        """Start a stopped container on other GPUs and yield the progress; the last message is the result.

        Closing the iterator before ends the move: the container is as it was.

        Raises:
            Ds01Error: It could not be moved; it is as it was.
        """
        return self._stream(_of(name) + "/move" + query_of(uid=uid), {}, "the move")

    def stop_container(
        self, name: str, body: schema.StopContainerBody | None = None, *, uid: int | None = None
    ) -> schema.StoppedContainer:
        """Stop a container, or find it stopped."""
        answer: schema.StoppedContainer = self._act("POST", _of(name) + "/stop" + query_of(uid=uid), body or {})
        return answer

    def restart_container(
        self, name: str, body: schema.StopContainerBody | None = None, *, uid: int | None = None
    ) -> schema.RestartedContainer:
        """Stop a container if it runs, and start it; or with dry_run say how."""
        answer: schema.RestartedContainer = self._act("POST", _of(name) + "/restart" + query_of(uid=uid), body or {})
        return answer

    def pause_container(self, name: str, *, dry_run: bool = False, uid: int | None = None) -> schema.PausedContainer:
        """Freeze the programs of a container, or find them frozen."""
        query = query_of(dry_run=dry_run, uid=uid)
        answer: schema.PausedContainer = self._act("POST", _of(name) + "/pause" + query)
        return answer

    def unpause_container(self, name: str, *, dry_run: bool = False, uid: int | None = None) -> schema.PausedContainer:
        """Let the programs of a container go on, or find them going."""
        query = query_of(dry_run=dry_run, uid=uid)
        answer: schema.PausedContainer = self._act("POST", _of(name) + "/unpause" + query)
        return answer

    def list_ports(self, name: str, *, uid: int | None = None) -> schema.PortList:
        """Return the ports of a running container."""
        answer: schema.PortList = self._get(_of(name) + "/ports" + query_of(uid=uid))
        return answer

    def find_path(self, name: str, path: str, *, uid: int | None = None) -> schema.PathDocument:
        """Return what a path inside a container is."""
        answer: schema.PathDocument = self._get(_of(name) + "/path" + query_of(path=path, uid=uid))
        return answer

    def read_archive(self, name: str, path: str, *, uid: int | None = None) -> Iterator[bytes]:
        """Return a file or folder of a container as a tar, piece by piece."""
        target = _of(name) + "/archive" + query_of(path=path, uid=uid)
        return _closing(self._transport.ask(Request("GET", target, timeout_s=None)))

    def write_archive(
        self, name: str, path: str, pieces: Iterator[bytes], *, uid: int | None = None
    ) -> schema.WrittenArchive:
        """Unpack a tar below a folder of a container.

        Raises:
            Ds01Error: It was refused; what came before the refused entry may be there.
        """
        target = _of(name) + "/archive" + query_of(path=path, uid=uid)
        answer: schema.WrittenArchive = self._transport.read(
            Request("POST", target, timeout_s=ACTING_TIMEOUT_S, pieces=pieces)
        )
        return answer

    def plan_export(self, name: str, *, with_base: bool = False, uid: int | None = None) -> schema.ExportPlan:
        """Return what an export of a container would write."""
        target = _of(name) + "/export" + query_of(with_base=with_base, uid=uid)
        answer: schema.ExportPlan = self._transport.read(Request("GET", target, timeout_s=ACTING_TIMEOUT_S))
        return answer

    def export_container(self, name: str, *, with_base: bool = False, uid: int | None = None) -> Iterator[bytes]:
        """Return a container as a tar, piece by piece. Closing the iterator before its end breaks it off."""
        target = _of(name) + "/export" + query_of(with_base=with_base, uid=uid)
        return _closing(self._transport.ask(Request("POST", target, timeout_s=None)))

    def import_container(self, pieces: Iterator[bytes]) -> schema.CreatedContainer:
        """Create a container from a tar with an order and what an export gives.

        Raises:
            Ds01Error: It was refused, and nothing is left of it.
        """
        request = Request("POST", "/v1/imports", timeout_s=ACTING_TIMEOUT_S, pieces=pieces)
        answer: schema.CreatedContainer = self._transport.read(request)
        return answer

    def rename_container(
        self, name: str, body: schema.RenameBody, *, uid: int | None = None
    ) -> schema.RenamedContainer:
        """Give a stopped container another name, or with dry_run say how."""
        answer: schema.RenamedContainer = self._act("POST", _of(name) + "/rename" + query_of(uid=uid), body)
        return answer

    def remove_container(
        self, name: str, *, force: bool = False, dry_run: bool = False, uid: int | None = None
    ) -> schema.RemovedContainer:
        """Remove a container; its workspace stays."""
        query = query_of(force=force, dry_run=dry_run, uid=uid)
        answer: schema.RemovedContainer = self._act("DELETE", _of(name) + query)
        return answer

    def adopt_container(self, name: str, body: schema.AdoptBody, *, uid: int | None = None) -> schema.AdoptedContainer:
        """Take a container that others made under management, or with dry_run say what that would do."""
        answer: schema.AdoptedContainer = self._act("POST", _of(name) + "/adopt" + query_of(uid=uid), body)
        return answer

    def list_leftovers(self, *, older_than_s: int | None = None, uid: int | None = None) -> schema.LeftoverList:
        """Return what lies about of a user's."""
        answer: schema.LeftoverList = self._get("/v1/leftovers" + query_of(older_than_s=older_than_s, uid=uid))
        return answer

    def clear_leftovers(self, body: schema.ClearBody, *, uid: int | None = None) -> schema.ClearedList:
        """Remove leftovers by their ids."""
        answer: schema.ClearedList = self._act("POST", "/v1/leftovers/clear" + query_of(uid=uid), body)
        return answer

    def release_gpus(self, name: str, *, uid: int | None = None) -> schema.ReleasedGpus:
        """Give back the GPUs of a stopped container."""
        answer: schema.ReleasedGpus = self._act("POST", _of(name) + "/release" + query_of(uid=uid))
        return answer

    def get_logs(
        self,
        name: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        timestamps: bool = False,
        uid: int | None = None,
    ) -> Iterator[bytes]:
        """Return the output of the main process, piece by piece."""
        query = query_of(follow=follow, tail=tail, timestamps=timestamps, uid=uid)
        answer = self._transport.ask(Request("GET", _of(name) + "/logs" + query, timeout_s=None))
        return _closing(answer)

    def get_stats(
        self, name: str | None = None, *, everybody: bool = False, uid: int | None = None
    ) -> schema.StatsList:
        """Return one reading of running containers."""
        answer: schema.StatsList = self._get("/v1/stats" + query_of(name=name, all=everybody, uid=uid))
        return answer

    def list_processes(self, name: str, *, uid: int | None = None) -> schema.ProcessList:
        """Return the processes of a running container."""
        answer: schema.ProcessList = self._get(_of(name) + "/processes" + query_of(uid=uid))
        return answer

    def create_exec(self, name: str, body: schema.ExecBody, *, uid: int | None = None) -> schema.ExecCreated:
        """Prepare a program in a running container."""
        answer: schema.ExecCreated = self._act("POST", _of(name) + "/exec" + query_of(uid=uid), body)
        return answer

    def start_exec(self, exec_id: str) -> Connection:
        """Start a prepared program and return the connection that now carries its bytes.

        With a terminal they are raw, else in frames: `ds01.client.frames`.
        """
        return self._upgraded(f"/v1/exec/{quote(exec_id)}/start")

    def attach_container(self, name: str, *, stdin: bool = False, uid: int | None = None) -> Connection:
        """Return the connection that carries the bytes of a container's main process.

        With a terminal they are raw, else in frames: `ds01.client.frames`.
        """
        return self._upgraded(_of(name) + "/attach" + query_of(stdin=stdin, uid=uid))

    def resize_container(self, name: str, rows: int, columns: int, *, uid: int | None = None) -> schema.ConsoleSize:
        """Set the size of the terminal of a container's main process."""
        body: schema.ResizeBody = {"rows": rows, "columns": columns}
        answer: schema.ConsoleSize = self._act("POST", _of(name) + "/resize" + query_of(uid=uid), body)
        return answer

    def _upgraded(self, target: str) -> Connection:
        answer = self._transport.ask(Request("POST", target, upgrade=STREAM_PROTOCOL))
        if answer.status != SWITCHING_PROTOCOLS or answer.headers.get("upgrade", "").lower() != STREAM_PROTOCOL:
            answer.connection.close()
            raise broken(self._transport.path, f"answered {answer.status} where the program's stream should begin")
        answer.connection.set_timeout(None)
        return answer.connection

    def resize_exec(self, exec_id: str, rows: int, columns: int) -> schema.ExecStatus:
        """Set the size of a program's terminal."""
        body: schema.ResizeBody = {"rows": rows, "columns": columns}
        answer: schema.ExecStatus = self._act("POST", f"/v1/exec/{quote(exec_id)}/resize", body)
        return answer

    def get_exec(self, exec_id: str) -> schema.ExecStatus:
        """Return a program's state and exit status."""
        answer: schema.ExecStatus = self._get(f"/v1/exec/{quote(exec_id)}")
        return answer

    def get_catalogue(
        self, *, framework: str | None = None, architecture: str | None = None, everything: bool = False
    ) -> schema.CatalogueDocument:
        """Return the framework images, which one a framework means on this machine, and why."""
        query = query_of(framework=framework, architecture=architecture, all=everything)
        answer: schema.CatalogueDocument = self._get("/v1/catalogue" + query)
        return answer

    def list_images(
        self, *, uid: int | None = None, containers: bool = False, everybody: bool = False
    ) -> schema.ImageList:
        """Return the images on this machine that a user may choose from, with `containers` what was made from them.

        With `everybody` an administrator sees also what others built.
        """
        answer: schema.ImageList = self._get("/v1/images" + query_of(uid=uid, containers=containers, all=everybody))
        return answer

    def pull_image(self, body: schema.PullImageBody) -> schema.PulledImage:
        """Fetch an image from its registry."""
        answer: schema.PulledImage = self._act("POST", "/v1/images/pull", body)
        return answer

    def stream_pull(self, body: schema.PullImageBody) -> Iterator[schema.ProgressMessage]:
        """Fetch an image and yield the progress; the last message is the result.

        Closing the iterator before closes the connection, and the engine stops fetching.

        Raises:
            Ds01Error: The pull failed.
        """
        return self._stream("/v1/images/pull", body, "the pull")

    def list_gpus(self) -> schema.GpuList:
        """Return the devices of the machine and who holds them."""
        answer: schema.GpuList = self._get("/v1/gpus")
        return answer

    def get_limits(self, *, uid: int | None = None) -> schema.LimitsDocument:
        """Return what a user may hold and use."""
        answer: schema.LimitsDocument = self._get("/v1/limits" + query_of(uid=uid))
        return answer

    def get_config(self) -> schema.ConfigDocument:
        """Return the policy in force."""
        answer: schema.ConfigDocument = self._get("/v1/config")
        return answer

    def check_config(self, body: schema.ConfigCheckBody | None = None) -> schema.ConfigCheck:
        """Look at a policy file, or at those of the daemon, without its taking effect."""
        answer: schema.ConfigCheck = self._act("POST", "/v1/config/check", body or {})
        return answer

    def apply_mig_layout(self, body: schema.MigLayoutBody) -> schema.MigPlanDocument:
        """Cut GPUs into MIG instances as a file says, or with `dry_run` say what that would do."""
        answer: schema.MigPlanDocument = self._act("POST", "/v1/mig", body)
        return answer

    def drain_gpus(self, body: schema.DrainGpuBody) -> schema.DrainedGpus:
        """Give no new grants on a device."""
        answer: schema.DrainedGpus = self._act("POST", "/v1/gpus/drain", body)
        return answer

    def resume_gpus(self, body: schema.ResumeGpuBody) -> schema.DrainedGpus:
        """Let a device be granted again."""
        answer: schema.DrainedGpus = self._act("POST", "/v1/gpus/resume", body)
        return answer

    def list_events(self, selection: Mapping[str, str | int | None]) -> schema.EventList:
        """Return recorded events, newest last; `selection` holds the route's parameters."""
        answer: schema.EventList = self._get("/v1/events" + query_of(**selection))
        return answer

    def follow_events(self, selection: Mapping[str, str | int | None]) -> Iterator[schema.EventDocument]:
        """Yield recorded events, then new ones as they come, until the daemon leaves.

        Raises:
            Ds01Error: The daemon refused it or failed.
        """
        target = "/v1/events" + query_of(follow=True, **selection)
        answer = self._transport.ask(Request("GET", target, timeout_s=None, accept=LINES_TYPE))
        try:
            for line in answer.lines():
                message = parse_document(line, self._transport.path)
                if message.get("kind") == "problem":
                    raise error_from(message.get("problem") or {})
                event: schema.EventDocument = message["event"]
                yield event
        finally:
            answer.connection.close()

    def get_openapi(self) -> schema.OpenApiDocument:
        """Return the table of routes as an OpenAPI document."""
        answer: schema.OpenApiDocument = self._get("/v1/openapi.json")
        return answer

    def shut_down(self) -> schema.ShutdownDocument:
        """Ask a personal daemon to leave; containers go on."""
        answer: schema.ShutdownDocument = self._act("POST", "/v1/shutdown")
        return answer


def _of(name: str) -> str:
    return f"/v1/containers/{segment(name, 'the container')}"


def _closing(answer: Answer) -> Iterator[bytes]:
    try:
        yield from answer.body()
    finally:
        answer.connection.close()
