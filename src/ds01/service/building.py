"""Builds: a context that the client sends becomes an image of the caller's own."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from ds01.domain import label
from ds01.domain.access import Caller
from ds01.domain.build_failure import explain_failure, step_of
from ds01.domain.catalogue import CatalogueRow, frameworks
from ds01.domain.event import Event
from ds01.domain.image_name import OwnImage, dated_tag, parse_image_name
from ds01.domain.package_tier import PackageTiers
from ds01.errors import BackendError, BuildStepError, ConflictError, Ds01Error
from ds01.service.limits import LimitService, cgroup_parent_of
from ds01.service.ports import BuildSpec, Engine, ImageDetails, Notify, World

KEPT_OUTPUT_CHARACTERS = 64 * 1024
"""How much of the output is kept for the explanation of a failure; the client has all of it."""


@dataclass(frozen=True, slots=True)
class BuildOrder:
    """An image to build.

    Attributes:
        name: As its owner types it.
        dockerfile: Path of the Dockerfile in the context.
        digest: SHA-256 of the Dockerfile, which the image remembers; empty: unknown.
        arguments: Build arguments.
        ignores_cache: Every step is run anew.
        uses_buildkit: BuildKit builds instead of the classic builder.
    """

    name: str
    dockerfile: str = "Dockerfile"
    digest: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    ignores_cache: bool = False
    uses_buildkit: bool = False


@dataclass(frozen=True, slots=True)
class Build:
    """Outcome of a build.

    Attributes:
        image: As the engine has it.
        reference: Its name that moves on with every build.
        dated: Its name that stays.
    """

    image: ImageDetails
    reference: str
    dated: str


class BuildService:
    """Builds images of people's own. Nobody can name another's: the name begins with the uid of the connection."""

    def __init__(
        self,
        world: World,
        limits: LimitService,
        catalogue: Callable[[], Sequence[CatalogueRow]],
        tiers: Callable[[], PackageTiers],
    ) -> None:
        self._engine: Engine = world.engine
        self._store = world.store
        self._clock = world.clock
        self._limits = limits
        self._catalogue = catalogue
        self._tiers = tiers
        self._under_way: set[tuple[int, str]] = set()

    def name_of(self, name: str) -> str:
        """Return the name if an own image may be called so.

        Raises:
            InvalidRequestError: It may not.
        """
        return parse_image_name(name, frameworks(self._catalogue()))

    async def build(self, caller: Caller, order: BuildOrder, context: AsyncIterator[bytes], notify: Notify) -> Build:
        """Build an image with the limits of the caller's containers; closing the answer ends the build.

        Raises:
            InvalidRequestError: The name or the Dockerfile cannot be used.
            ConflictError: The same image is being built.
            Ds01Error: A step failed; the message says which and why, the details hold its last lines.
            BackendError: The engine failed.
        """
        key = (caller.uid, self.name_of(order.name))
        if key in self._under_way:
            raise ConflictError(f"{order.name} is being built already.", hint="Wait for it, or stop it with Ctrl-C.")
        self._under_way.add(key)
        try:
            return await self._build(caller, order, context, notify)
        finally:
            self._under_way.discard(key)

    async def _build(self, caller: Caller, order: BuildOrder, context: AsyncIterator[bytes], notify: Notify) -> Build:
        latest = OwnImage(caller.uid, order.name)
        spec = await self._spec(caller, order, str(latest))
        output = ""
        async with aclosing(self._engine.build_image(spec, context)) as steps:
            try:
                async for step in steps:
                    if not step.text:
                        continue
                    output = (output + step.text)[-KEPT_OUTPUT_CHARACTERS:]
                    await notify({"kind": "build", "message": step.text})
            except BuildStepError as failure:
                raise self._explained(failure, output) from failure
            except BackendError as failure:
                failure.hint = failure.hint or "The build was broken off: no image was made. Build it again."
                raise
        image = await self._engine.find_image(str(latest))
        if image is None:
            raise BackendError(f"The engine built {order.name} and does not have it.", hint="Build it again.")
        dated = str(OwnImage(caller.uid, order.name, dated_tag(self._clock.now())))
        await self._engine.tag_image(image.id, dated)
        details = {"image": order.name, "reference": dated}
        event = Event("image.built", self._clock.now(), uid=caller.uid, actor_uid=caller.uid, details=details)
        await self._store.write(lambda transaction: transaction.append_event(event))
        return Build(image, str(latest), dated)

    async def _spec(self, caller: Caller, order: BuildOrder, tag: str) -> BuildSpec:
        info = await self._engine.get_info()
        limits = self._limits.effective(caller.user, info).values
        labels = {
            label.MAINTAINER: label.clean_value(caller.user.name),
            label.CUSTOM_IMAGE: order.name,
            **({label.RECIPE: order.digest} if order.digest else {}),
        }
        return BuildSpec(
            tag=tag,
            dockerfile=order.dockerfile,
            labels=labels,
            arguments=order.arguments,
            memory_bytes=limits.memory or 0,
            nano_cpus=round((limits.max_cpus or 0) * 1_000_000_000),
            cgroup_parent=cgroup_parent_of(caller.user, info),
            ignores_cache=order.ignores_cache,
            uses_buildkit=order.uses_buildkit,
        )

    def _explained(self, failure: BuildStepError, output: str) -> Ds01Error:
        """Return the error for a step that failed; what failed before any step is the engine's own failure."""
        if not any(step_of(line.rstrip()) for line in output.splitlines()):
            return failure
        tiers = self._tiers()
        offered = (tiers.base, tiers.jupyter, tiers.data_science, *tiers.use_cases.values())
        known = [name for tier in offered for name in tier.pip]
        found = explain_failure(output, failure.message, known)
        details = {"cause": found.cause.value, "subject": found.subject, "step": found.step, "output": list(found.tail)}
        return Ds01Error(f"The build failed at `{found.step[:200]}`: {found.reason}.", hint=found.hint, details=details)
