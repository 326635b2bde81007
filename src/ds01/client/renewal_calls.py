"""The client's methods about what was installed in containers, and to make them again."""

from __future__ import annotations

from collections.abc import Iterator

from ds01.client.calls import ACTING_TIMEOUT_S, Calls, query_of
from ds01.client.transport import Request
from ds01.client.wire import quote

TYPE_CHECKING = False  # the name that checkers know, without the import of typing that costs 5 ms
if TYPE_CHECKING:
    from ds01.api import schema


class RenewalCalls(Calls):
    """Asks what was installed in containers, and makes them again."""

    def get_drift(self, name: str, *, uid: int | None = None) -> schema.DriftDocument:
        """Return what was installed in a container since it was made; the engine walks its files for it."""
        target = f"/v1/containers/{quote(name)}/drift" + query_of(uid=uid)
        answer: schema.DriftDocument = self._transport.read(Request("GET", target, timeout_s=ACTING_TIMEOUT_S))
        return answer

    def recreate_container(
        self, name: str, body: schema.RecreateContainerBody, *, uid: int | None = None
    ) -> schema.RecreatedContainer:
        """Make a container again from another image, or with dry_run say what that would be."""
        target = f"/v1/containers/{quote(name)}/recreate" + query_of(uid=uid)
        answer: schema.RecreatedContainer = self._act("POST", target, body)
        return answer

    def stream_recreate(
        self, name: str, body: schema.RecreateContainerBody, *, uid: int | None = None
    ) -> Iterator[schema.ProgressMessage]:
        """Make a container again and yield the progress; the last message is the result.

        Closing the iterator before ends it: the container is as it was.

        Raises:
            Ds01Error: It could not be made; the old one is as it was.
        """
        target = f"/v1/containers/{quote(name)}/recreate" + query_of(uid=uid)
        return self._stream(target, body, "the re-creation")
