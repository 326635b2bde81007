"""A row follows the name that its container has on the engine, after our renaming and after a plain `docker rename`."""

from dataclasses import replace

from ds01.domain.containers.container import ContainerDetails
from ds01.domain.event import Event
from ds01.domain.images.image import is_private_tag, private_tag
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
        tag = _tag_of(row, parsed)
        now = self._clock.now()

        def decide(transaction: StoreTransaction) -> str | None:
            present = transaction.find_container_by_nonce(row.nonce)
            if present is None or present.name == parsed.name:
                return present.image if present else None
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
            return tag

        try:
            if tag != row.image:
                await self._engine.tag_image(details.image_id, tag)
            # before the row forgets the old tag: a crash in between finds the row under its old name, and does all this
            # again; the other way round nobody would know of the old tag any more
            await self._drop(row.image, unless=tag)
            used = await self._store.write(decide)
        except Ds01Error:
            if tag != row.image:
                await self._engine.tag_image(details.image_id, row.image)
            await self._drop(tag, unless=row.image)
            raise
        await self._drop(tag, unless=used or row.image)

    async def _drop(self, tag: str, *, unless: str) -> None:
        if tag != unless:
            await drop_private_tag(self._engine, tag)


def _tag_of(row: ContainerRow, name: EngineName) -> str:
    """AIME's tool deletes the image that a container names: the shared one gets its second name anew."""
    return private_tag(row.image.rpartition(":")[0], name) if is_private_tag(row.image) else row.image
