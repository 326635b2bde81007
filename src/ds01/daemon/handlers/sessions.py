"""Programs in containers: exec, logs, processes, readings."""

from contextlib import aclosing

from aiohttp import web

from ds01.api import schema
from ds01.daemon import documents
from ds01.daemon.call import Call
from ds01.daemon.documents import SCHEMA
from ds01.daemon.identity import Identities
from ds01.daemon.server import Handler
from ds01.daemon.stream_answer import BYTES
from ds01.daemon.streams import StreamRelay, require_upgrade
from ds01.service.ports import ExecState
from ds01.service.sessions import Session, SessionOrder, SessionService
from ds01.service.usage import UsageService


class SessionHandlers:
    """Answers for programs."""

    def __init__(
        self,
        sessions: SessionService,
        usage: UsageService,
        relay: StreamRelay,
        identities: Identities,
        *,
        is_personal: bool,
    ) -> None:
        self._sessions = sessions
        self._usage = usage
        self._relay = relay
        self._identities = identities
        self._is_personal = is_personal

    def table(self) -> dict[str, Handler]:
        """Return the handlers by route."""
        return {
            "create_exec": self.create_exec,
            "start_exec": self.start_exec,
            "resize_exec": self.resize_exec,
            "get_exec": self.get_exec,
            "get_logs": self.get_logs,
            "list_processes": self.list_processes,
            "get_stats": self.get_stats,
        }

    async def create_exec(self, call: Call) -> schema.ExecCreated:
        """Prepare a program."""
        body = call.document(schema.ExecBody)
        order = SessionOrder(
            command=tuple(body.get("command", [])),
            as_root=body.get("as_root", False),
            environment=body.get("environment", {}),
            working_dir=body.get("working_dir", ""),
            has_terminal=body.get("terminal", False),
            has_stdin=body.get("stdin", False),
            shares_display=body.get("x11", False),
        )
        session = await self._sessions.prepare(call.caller, call.uid, call.name, order)
        return schema.ExecCreated(
            schema_version=SCHEMA,
            exec_id=session.exec_id,
            container=session.container,
            command=list(session.command),
            terminal=session.has_terminal,
        )

    def _session(self, call: Call) -> Session:
        return self._sessions.get_session(call.caller.uid, call.request.match_info["exec_id"])

    async def start_exec(self, call: Call) -> web.StreamResponse:
        """Start it and hand the connection over."""
        require_upgrade(call.request)
        stream = await self._sessions.start(self._session(call))
        self._relay.take_over(call.request, stream)
        return web.Response(status=101)  # never sent: the connection is not the server's any more

    async def resize_exec(self, call: Call) -> schema.ExecStatus:
        """Set the size of its terminal."""
        body = call.document(schema.ResizeBody)
        session = self._session(call)
        await self._sessions.resize(session, rows=body["rows"], columns=body["columns"])
        return _status(await self._sessions.get_state(session))

    async def get_exec(self, call: Call) -> schema.ExecStatus:
        """Its state."""
        return _status(await self._sessions.get_state(self._session(call)))

    async def get_logs(self, call: Call) -> web.StreamResponse:
        """Output of the main process, as it comes."""
        chunks = await self._sessions.logs(
            call.uid,
            call.name,
            follow=call.flag("follow"),
            tail=call.integer("tail"),
            timestamps=call.flag("timestamps"),
        )
        stream = await call.begin_stream(BYTES)
        async with aclosing(chunks):
            async for chunk in chunks:
                await stream.write(chunk)
        return await stream.end()

    async def list_processes(self, call: Call) -> schema.ProcessList:
        """Processes of a running container."""
        rows = await self._sessions.processes(call.uid, call.name)
        processes = [
            schema.ProcessRow(
                pid=int(row.get("PID", "0") or 0),
                user=row.get("USER") or row.get("UID", ""),
                command=row.get("CMD") or row.get("COMMAND", ""),
            )
            for row in rows
        ]
        return schema.ProcessList(schema_version=SCHEMA, name=call.name, processes=processes)

    async def get_stats(self, call: Call) -> schema.StatsList:
        """One reading of running containers."""
        name = call.request.query.get("name")
        uid = call.uid
        if name:
            readings = [await self._usage.read_container(uid, name)]
        else:
            everybody = call.flag("all") and (self._is_personal or call.caller.is_admin)
            readings = await self._usage.read_running(None if everybody else uid)
        found = []
        for reading in readings:
            parsed = reading.details.parsed_name
            owner = await self._identities.name(parsed.uid if parsed else None)
            found.append(documents.stats_document(reading, owner))
        return schema.StatsList(schema_version=SCHEMA, containers=found)


def _status(state: ExecState) -> schema.ExecStatus:
    return schema.ExecStatus(
        schema_version=SCHEMA, exec_id=state.id, running=state.is_running, exit_code=state.exit_code
    )
