"""A base image that reaches this machine's package registry: its certificates, proxy and index are put into it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.engine import DevEngine

CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_PROBE = "pip download --quiet --no-deps --dest /tmp six==1.16.0"


@contextmanager
def online_base(engine: DevEngine, image: str) -> Iterator[str]:
    """Put what a site's administrator puts into a base image into one, under its own name, for the block.

    Skips the test where no registry answers from inside; in CI that is a failure.
    """
    before = engine.docker("image", "inspect", "--format", "{{.Id}}", image).strip()
    container = engine.docker("create", image, "true").strip()
    try:
        engine.docker("cp", CERTIFICATES, f"{container}:{CERTIFICATES}")
        changes = [
            word for key, value in _settings().items() for word in ("--change", f"ENV {key}={json.dumps(value)}")
        ]
        engine.docker("commit", *changes, container, image)
    finally:
        engine.docker("rm", "--force", container)
    try:
        _require_registry(engine, image)
        yield image
    finally:
        engine.docker("tag", before, image)


def _settings() -> dict[str, str]:
    settings = {key: os.environ[key] for key in _PROXIES if os.environ.get(key)}
    asked = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    index = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    index = os.environ.get("PIP_INDEX_URL") or index
    return {**settings, **({"PIP_INDEX_URL": index} if index else {}), "PIP_CERT": CERTIFICATES}


def _require_registry(engine: DevEngine, image: str) -> None:
    done = engine.try_docker("run", "--rm", image, "sh", "-c", _PROBE)
    if done.returncode != 0:
        assert os.environ.get("CI") != "true", done.stderr
        pytest.skip(f"no package registry answers inside a container: {done.stderr[-300:]}")
    assert Path(CERTIFICATES).exists()
