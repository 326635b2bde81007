"""The policy: what is in force, and what a file would say."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from ds01.api import schema
from ds01.config import MEMBERS_FOLDER, MEMBERS_SUFFIX, POLICY_NAME, PolicyFiles, TextFile
from ds01.config.package_tiers import TIERS_FILE
from ds01.daemon.call import Call
from ds01.daemon.policy_document import config_document, error_remark, remark
from ds01.daemon.server import Handler
from ds01.daemon.site_files import SiteFiles
from ds01.domain.images.package_tier import parse_package_tiers
from ds01.errors import Ds01Error, ForbiddenError, InvalidRequestError

MAX_NAME = 200


class ConfigHandlers:
    """Answers about the policy. It names people, so it is for administrators."""

    def __init__(self, files: SiteFiles, *, is_personal: bool) -> None:
        self._files = files
        self._policy = files.policy
        self._is_personal = is_personal

    def table(self) -> dict[str, Handler]:
        """Return the handlers by route."""
        return {"get_config": self.get_config, "check_config": self.check_config}

    async def get_config(self, call: Call) -> schema.ConfigDocument:
        """The policy in force with the origin of every value."""
        self._require_admin(call)
        return config_document(self._policy.current, self._policy.problem)

    async def check_config(self, call: Call) -> schema.ConfigCheck:
        """Look at a file without its taking effect."""
        body = call.document(schema.ConfigCheckBody)
        self._require_admin(call)
        return await asyncio.to_thread(self._check, body)  # parsing takes a while

    def _check(self, body: schema.ConfigCheckBody) -> schema.ConfigCheck:
        files, tiers = _files(body), body.get("package_tiers")
        errors: list[Ds01Error] = []
        source, policy = files.main.name if files else TIERS_FILE if tiers is not None else POLICY_NAME, None
        if files is not None or tiers is None:
            with _collecting(errors):
                policy = self._policy.check(files)
        if tiers is not None:
            with _collecting(errors):
                parse_package_tiers(tiers, TIERS_FILE)
        if files is None and tiers is None:
            with _collecting(errors):
                self._files.tiers.check()
            with _collecting(errors):
                self._files.read_builds((policy or self._policy.current).site.builds)
            if self._files.catalogue.problem is not None:
                errors.append(InvalidRequestError(self._files.catalogue.problem))
        return schema.ConfigCheck(
            schema_version=schema.SCHEMA_VERSION,
            source=policy.source if policy else source,
            ok=not errors,
            errors=[error_remark(failure) for failure in errors],
            warnings=[remark(warning) for warning in policy.warnings] if policy else [],
        )

    def _require_admin(self, call: Call) -> None:
        if not (self._is_personal or call.caller.is_admin):
            raise ForbiddenError(
                "Only an administrator may see the whole policy.", hint="Your own limits: ds01 limits show"
            )


@contextmanager
def _collecting(errors: list[Ds01Error]) -> Iterator[None]:
    """Let one broken file not hide what is wrong with the others."""
    try:
        yield
    except InvalidRequestError as failure:
        errors.append(failure)


def _files(body: schema.ConfigCheckBody) -> PolicyFiles | None:
    text = body.get("text")
    if text is None:
        return None
    members = {
        group: TextFile(f"{MEMBERS_FOLDER}/{group[:MAX_NAME]}{MEMBERS_SUFFIX}", content.encode())
        for group, content in body.get("members", {}).items()
    }
    return PolicyFiles(TextFile(body.get("name", POLICY_NAME)[:MAX_NAME] or POLICY_NAME, text.encode()), members)
