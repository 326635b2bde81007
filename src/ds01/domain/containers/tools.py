"""The derived image: a base that lacks sudo or git, with them, built once for everybody. What it is made of.

No user's file or name goes into it, so it can be shared; what is a user's own is written into each container.
"""

import re

RECIPE_VERSION = 1
"""Raised whenever the script changes: images of another version are not used."""
REPOSITORY = "ds01.invalid/with-tools"
"""`.invalid` is nobody's registry (RFC 2606), so these names are never pulled or pushed."""
BASE_LABEL = "aime.mlc.DS01_BASE"
PACKAGE_MANAGERS = ("/usr/bin/apt-get", "/sbin/apk", "/usr/bin/dnf", "/usr/bin/microdnf")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_USER = re.compile(r"[A-Za-z0-9_.-]{1,64}(:[A-Za-z0-9_.-]{1,64})?", re.ASCII)
_SCRIPTS = {
    "apt-get": (
        "export DEBIAN_FRONTEND=noninteractive; set -- -q -o Acquire::Retries=1 -o Acquire::http::Timeout=20; "
        'apt-get "$@" update && apt-get "$@" install -y --no-install-recommends sudo git bash && '
        "rm -rf /var/lib/apt/lists/*"
    ),
    "apk": "apk add --no-cache sudo git bash",
    "dnf": "dnf install -y sudo git bash && dnf clean all",
    "microdnf": "microdnf install -y sudo git bash && microdnf clean all",
}


def derived_reference(image_id: str) -> str:
    """Return the name of the derived image of a base.

    Args:
        image_id: `sha256:` and 64 hex digits.
    """
    found = _DIGEST.fullmatch(image_id)
    digest = found[1] if found else re.sub(r"[^0-9a-z]", "", image_id.lower())
    return f"{REPOSITORY}:{digest[:32]}-v{RECIPE_VERSION}"


def dockerfile_of(image_id: str, user: str, package_manager: str) -> str | None:
    """Return the Dockerfile of the derived image; None where no way is known.

    Args:
        image_id: The base.
        user: The base's own user, which stays; empty: none is set.
        package_manager: One of PACKAGE_MANAGERS; empty: it has none.
    """
    script = _SCRIPTS.get(package_manager.rpartition("/")[2])
    if script is None or (user and not _USER.fullmatch(user)):
        return None
    lines = [f"FROM {image_id}", "USER 0:0", f"RUN {script} && mkdir -p /etc/sudoers.d"]
    lines.append(f"USER {user or '0:0'}")
    return "\n".join(lines) + "\n"
