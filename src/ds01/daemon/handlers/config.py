"""The policy: what is in force, and what a file would say."""

import asyncio

from ds01.api import schema
from ds01.config import MEMBERS_FOLDER, MEMBERS_SUFFIX, POLICY_NAME, PolicyFiles, TextFile
from ds01.daemon.call import Call
from ds01.daemon.policy_document import config_document, error_remark, remark
from ds01.daemon.policy_file import PolicyFile
from ds01.daemon.server import Handler
from ds01.errors import ForbiddenError, InvalidRequestError

MAX_NAME = 200


class ConfigHandlers:
    """Answers about the policy. It names people, so it is for administrators."""

    def __init__(self, policy: PolicyFile, *, is_personal: bool) -> None:
        self._policy = policy
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
        files = _files(call.document(schema.ConfigCheckBody))
        self._require_admin(call)
        answer = schema.ConfigCheck(
            schema_version=schema.SCHEMA_VERSION,
            source=files.main.name if files else POLICY_NAME,
            ok=True,
            errors=[],
            warnings=[],
        )
        try:
            policy = await asyncio.to_thread(self._policy.check, files)  # parsing takes a while
        except InvalidRequestError as failure:
            return {**answer, "ok": False, "errors": [error_remark(failure)]}
        return {**answer, "source": policy.source, "warnings": [remark(warning) for warning in policy.warnings]}

    def _require_admin(self, call: Call) -> None:
        if not (self._is_personal or call.caller.is_admin):
            raise ForbiddenError(
                "Only an administrator may see the whole policy.", hint="Your own limits: ds01 limits show"
            )


def _files(body: schema.ConfigCheckBody) -> PolicyFiles | None:
    text = body.get("text")
    if text is None:
        return None
    members = {
        group: TextFile(f"{MEMBERS_FOLDER}/{group[:MAX_NAME]}{MEMBERS_SUFFIX}", content.encode())
        for group, content in body.get("members", {}).items()
    }
    return PolicyFiles(TextFile(body.get("name", POLICY_NAME)[:MAX_NAME] or POLICY_NAME, text.encode()), members)
