"""Stands in for Docker Hub, so that `docker pull` shows real layers and real progress without the internet."""

import json
from collections.abc import Mapping
from pathlib import Path

from dev.enginekit.folders import EngineFolders, write_whole
from dev.enginekit.packages import Tree, tree_with

ADDRESS = "127.0.0.1:5077"


def registry_tree(inherited: Mapping[str, str]) -> Tree:
    """Return where the registry program is."""
    return tree_with(["docker-registry"], ["docker-registry"], inherited.get("PATH", ""))


def registry_command(tree: Tree, folders: EngineFolders, inherited: Mapping[str, str]) -> list[str | Path]:
    """Write the registry's settings and return how to start it inside the engine's network."""
    folders.registry.mkdir(exist_ok=True)
    settings = folders.run / "registry.yml"
    # YAML is a superset of JSON.
    write_whole(
        settings,
        json.dumps(
            {
                "version": "0.1",
                "log": {"level": "warn"},
                "storage": {"filesystem": {"rootdirectory": str(folders.registry)}, "delete": {"enabled": True}},
                "http": {"addr": ADDRESS},
            }
        ),
    )
    return [tree.command("docker-registry", inherited), "serve", settings]
