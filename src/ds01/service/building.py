"""Builds: a context that the client sends becomes an image of the caller's own."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import timedelta

from ds01.domain import label
from ds01.domain.event import Event
from ds01.domain.images.build_failure import Cause, explain_failure, step_of
from ds01.domain.images.build_site import BuildSite, Masker
from ds01.domain.images.catalogue import CatalogueRow, frameworks
from ds01.domain.images.image import digest_of
from ds01.domain.images.image_name import OwnImage, dated_tag, parse_image_name
from ds01.domain.images.package_tier import PackageTier, PackageTiers
from ds01.domain.images.system_package import advise_system_package, nearest_system_package
from ds01.domain.rules.access import Caller
from ds01.errors import (
    BackendError,
    BackendTimeoutError,
    BuildStepError,
    ConflictError,
    Ds01Error,
    InvalidRequestError,
)
from ds01.service.build_context import Context, judged_path, read_dockerfile, with_dockerfile
from ds01.service.build_images import BuildImages
from ds01.service.limits import LimitService, cgroup_parent_of
from ds01.service.pip_config import Lent, PipConfigLender
from ds01.service.ports import BuildSpec, Engine, ImageDetails, Notify, World
from ds01.units import format_duration

KEPT_OUTPUT_CHARACTERS = 64 * 1024
"""How much of the output is kept for the explanation of a failure; the client has all of it."""
ENGINE_END = timedelta(seconds=2)
"""An engine that was told to end is gone so long after the last of its containers."""


@dataclass(frozen=True, slots=True)
class BuildOrder:
    """An image to build.

    Attributes:
        name: As its owner types it.
        dockerfile: Path of the Dockerfile in the context.
        digest: SHA-256 of the Dockerfile, which the image remembers; empty: unknown.
        ignores_cache: Every step is run anew.
        uses_buildkit: BuildKit builds instead of the classic builder.
    """

    name: str
    dockerfile: str = "Dockerfile"
    digest: str = ""
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


@dataclass(frozen=True, slots=True)
class _Work:
    """One build: what it is, what it gets of the site, and who is told."""

    caller: Caller
    order: BuildOrder
    site: BuildSite
    bases: Mapping[str, ImageDetails]
    notify: Notify

    @property
    def reference(self) -> str:
        return str(OwnImage(self.caller.uid, self.order.name))


class BuildService:
    """Builds images of people's own. Nobody can name another's: the name begins with the uid of the connection."""

    def __init__(
        self,
        world: World,
        limits: LimitService,
        catalogue: Callable[[], Sequence[CatalogueRow]],
        tiers: Callable[[], PackageTiers],
        *,
        images: BuildImages,
        pip_config: PipConfigLender,
        site: Callable[[], BuildSite],
    ) -> None:
        self._engine: Engine = world.engine
        self._store = world.store
        self._clock = world.clock
        self._limits = limits
        self._catalogue = catalogue
        self._tiers = tiers
        self._images = images
        self._pip_config = pip_config
        self._site = site
        self._under_way: set[tuple[int, str]] = set()

    def name_of(self, name: str) -> str:
        """Return the name if an own image may be called so.

        Raises:
            InvalidRequestError: It may not.
        """
        return parse_image_name(name, frameworks(self._catalogue()))

    async def build(self, caller: Caller, order: BuildOrder, context: Context, notify: Notify) -> Build:
        """Build an image with the limits of the caller's containers; closing the answer ends the build.

        Raises:
            InvalidRequestError: The name, the context or the Dockerfile cannot be used.
            NotFoundError: It takes from an image that is somebody else's, or in no registry.
            ForbiddenError: It takes from a registry that the site does not fetch from.
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

    async def _build(self, caller: Caller, order: BuildOrder, context: Context, notify: Notify) -> Build:
        text = await read_dockerfile(context, order.dockerfile)
        site = await self._read_site()
        bases = await self._images.provide(caller.user, text, notify, given=site.arguments)
        work = _Work(caller, order, site, bases, notify)
        spec = await self._spec(work)
        async with self._pip_config.lent(caller.uid, order.name, site.pip_config, text) as lent:
            if lent.is_mounted:  # only BuildKit mounts files for a step
                spec = replace(spec, uses_buildkit=True)
                if not order.uses_buildkit:
                    await notify(
                        {"kind": "build", "message": "BuildKit builds: it lends pip the site's configuration.\n"}
                    )
            await self._follow(work, spec, with_dockerfile(context, order.dockerfile, lent.text), lent)
        return await self._named(work)

    async def _read_site(self) -> BuildSite:
        try:
            return await asyncio.to_thread(self._site)
        except InvalidRequestError as failure:
            raise BackendError(
                f"What the site gives to builds cannot be read: {failure.message}", hint="Tell your administrator."
            ) from failure

    async def _follow(self, work: _Work, spec: BuildSpec, context: AsyncIterator[bytes], lent: Lent) -> None:
        """Carry out a build. What is said of it holds none of the site's secrets."""
        masker, output, limit = Masker(work.site.secrets), "", work.site.time_limit

        async def tell(text: str) -> None:
            nonlocal output
            if text:
                output = (output + text)[-KEPT_OUTPUT_CHARACTERS:]
                await work.notify({"kind": "build", "message": text})

        try:
            async with (
                asyncio.timeout(None if limit is None else limit.total_seconds()),
                aclosing(self._engine.build_image(spec, context)) as steps,
            ):
                async for step in steps:
                    await tell(masker.take(lent.unmounted(step.text)))
                await tell(masker.rest())
        except TimeoutError as late:
            raise _too_long(format_duration(limit) if limit else "", output + masker.rest()) from late
        except BackendTimeoutError:
            raise
        except BuildStepError as failure:
            words = masker.whole(lent.unmounted(failure.message))
            error = self._explained(words, failure, output + masker.rest())
            if error.details.get("cause") == Cause.OUT_OF_MEMORY:
                await self._require_engine_stays()
            raise error from None
        except BackendError as failure:
            hint = failure.hint or "The build was broken off: no image was made. Build it again."
            words = masker.whole(lent.unmounted(failure.message))
            raise type(failure)(words, hint=hint, details=failure.details) from None

    async def _require_engine_stays(self) -> None:
        """An engine that ends kills the steps of its builds first: that looks like too little memory.

        Raises:
            BackendError: The engine does not answer any more.
        """
        await self._clock.sleep(ENGINE_END)
        try:
            await self._engine.get_info()
        except BackendError as failure:
            failure.hint = "The engine ended, and the build with it: no image was made. Build it again."
            raise

    async def _named(self, work: _Work) -> Build:
        """Give the image that was built the name that stays, and record it."""
        caller, order = work.caller, work.order
        image = await self._engine.find_image(work.reference)
        if image is None:
            raise BackendError(f"The engine built {order.name} and does not have it.", hint="Build it again.")
        dated = str(OwnImage(caller.uid, order.name, dated_tag(self._clock.now())))
        await self._engine.tag_image(image.id, dated)
        details = {"image": order.name, "reference": dated, "id": image.id, "bases": _base_texts(work.bases)}
        event = Event("image.built", self._clock.now(), uid=caller.uid, actor_uid=caller.uid, details=details)
        await self._store.write(lambda transaction: transaction.append_event(event))
        return Build(image, work.reference, dated)

    async def _spec(self, work: _Work) -> BuildSpec:
        caller, order = work.caller, work.order
        info = await self._engine.get_info()
        limits = self._limits.effective(caller.user, info).values
        labels = {
            label.MAINTAINER: label.clean_value(caller.user.name),
            label.UID: str(caller.uid),
            label.CUSTOM_IMAGE: order.name,
            label.BASES: ";".join(_base_texts(work.bases)),
            **({label.RECIPE: order.digest} if order.digest else {}),
        }
        return BuildSpec(
            tag=work.reference,
            dockerfile=judged_path(order.dockerfile),
            labels=labels,
            arguments=work.site.arguments,
            memory_bytes=limits.memory or 0,
            nano_cpus=round((limits.max_cpus or 0) * 1_000_000_000),
            cgroup_parent=cgroup_parent_of(caller.user, info),
            ignores_cache=order.ignores_cache,
            uses_buildkit=order.uses_buildkit,
        )

    def _explained(self, words: str, failure: BuildStepError, output: str) -> Ds01Error:
        """Return the error for a step that failed; what failed before any step is the engine's own failure."""
        if not any(step_of(line.rstrip()) for line in output.splitlines()):
            return type(failure)(words, hint=failure.hint, details=failure.details)
        tiers = self._tiers()
        offered = (tiers.base, tiers.jupyter, tiers.data_science, *tiers.use_cases.values())
        known = [name for tier in offered for name in tier.pip]
        found = explain_failure(output, words, known)
        details = {"cause": found.cause.value, "subject": found.subject, "step": found.step, "output": list(found.tail)}
        hint = found.hint
        if found.cause is Cause.NO_SYSTEM_PACKAGE:
            hint = _system_hint(found.subject, (tiers.system, *offered)) or hint
        return Ds01Error(f"The build failed at `{found.step[:200]}`: {found.reason}.", hint=hint, details=details)


def _system_hint(name: str, tiers: Sequence[PackageTier]) -> str | None:
    near = nearest_system_package(name, [package for tier in tiers for package in tier.apt])
    advice = advise_system_package(name)
    return f"{advice}." if advice else f"Did you mean {near}?" if near else None


def _too_long(limit: str, output: str) -> Ds01Error:
    found = explain_failure(output, "")
    at = f" at `{found.step[:200]}`" if found.step else ""
    return Ds01Error(
        f"The build was stopped{at}: it took longer than {limit}, the site's limit (builds.time_limit).",
        hint="Its earlier steps are kept and not done again. Build with fewer packages at a time, or ask your "
        "administrator.",
        details={"cause": Cause.TIME_LIMIT.value, "step": found.step, "output": list(found.tail)},
    )


def _base_texts(bases: Mapping[str, ImageDetails]) -> list[str]:
    return [f"{reference}={digest_of(image, reference)}" for reference, image in bases.items()]
