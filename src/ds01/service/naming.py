"""A row follows the name that its container has on the engine, after our renaming and after a plain `docker rename`."""

from dataclasses import replace

from ds01.domain.container import ContainerDetails
from ds01.domain.event import Event
from ds01.domain.image import is_private_tag, private_tag
from ds01.domain.name import EngineName
from ds01.errors import ConflictError, Ds01Error
from ds01.service.images import drop_private_tag
from ds01.service.ports import Clock, ContainerRow, Engine, Store, StoreTransaction


class NameTaker:
    """Lets a row follow the name that its container has on the engine."""

    def __init__(self, engine: Engine, store: Store, clock: Clock) -> None:
        self._engine = engine
        self._store = store
        self._clock = clock

    async def take_up(self, row: ContainerRow, details: ContainerDetails, *, actor_uid: int | None = None) -> None:
        """Give a row, its grant and its private tag the container's present name.

        Args:
            row: The row as it was.
            details: Its container, whose name has the row's uid.
            actor_uid: Who renamed it; None: somebody past us.

        Raises:
            ConflictError: The user has another container of that name.
        """
        parsed = details.parsed_name
        if parsed is None or parsed.uid != row.uid:
            raise ConflictError(f"{details.name} is not a name of the uid {row.uid}.")
        tag = await self._new_tag(row, details, parsed)
        now = self._clock.now()

        def decide(transaction: StoreTransaction) -> bool:
            present = transaction.find_container_by_nonce(row.nonce)
            if present is None or present.name == parsed.name:
                return False
            transaction.delete_container(present.uid, present.name)
            transaction.insert_container(replace(present, name=parsed.name, image=tag))
            grant = transaction.find_allocation(present.allocation_id)
            if grant is not None:
                transaction.save_allocation(replace(grant, container_name=parsed.name))
            transaction.append_event(
                Event(
                    "container.renamed",
                    now,
                    uid=row.uid,
                    actor_uid=actor_uid,
                    container=parsed.name,
                    details={"old_name": present.name},
                )
            )
            return True

        try:
            is_changed = await self._store.write(decide)
        except Ds01Error:
            if tag != row.image:
                await drop_private_tag(self._engine, tag)
            raise
        if is_changed and tag != row.image:
            await drop_private_tag(self._engine, row.image)

    async def _new_tag(self, row: ContainerRow, details: ContainerDetails, name: EngineName) -> str:
        """AIME's tool deletes the image that a container names: the shared one gets its second name anew."""
        if not is_private_tag(row.image):
            return row.image
        tag = private_tag(row.image.rpartition(":")[0], name)
        await self._engine.tag_image(details.image_id, tag)
        return tag
