"""Draws the wizards: see dev/README.md."""

import argparse
from pathlib import Path

from dev.demokit.stage import REPOSITORY, Stage, open_stage
from dev.enginekit.folders import dev_folder
from dev.screenkit.picture import picture_of
from dev.screenkit.scenes import IN_DOCS, SCENES, SIZES, Scene
from dev.screenkit.terminal import ShownTerminal

DOCS = REPOSITORY / "docs" / "images"


def main() -> int:
    """Play every scene in every size, and draw."""
    parser = argparse.ArgumentParser(prog="dev/screens", description="Draws the wizards as SVG pictures.")
    parser.add_argument("--out", type=Path, default=dev_folder() / "screens", help="where to (default: .dev/screens)")
    parser.add_argument("--docs", action="store_true", help="also draw the pictures of the guide anew")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with open_stage() as stage:
        for scene in SCENES:
            for columns, rows in SIZES:
                _play(stage, scene, (columns, rows), arguments.out, writes_docs=arguments.docs)
    print(f"The pictures are in {arguments.out}")
    return 0


def _play(stage: Stage, scene: Scene, size: tuple[int, int], out: Path, *, writes_docs: bool) -> None:
    columns, rows = size
    here = stage.folder / "my-work"  # its name is proposed for the container
    here.mkdir(exist_ok=True)
    title = f"ds01 {' '.join(scene.words)}"
    argv, environment = ["ds01", *scene.words], {**stage.environment, "LANG": "C.UTF-8"}
    with ShownTerminal(argv, environment, columns=columns, rows=rows, cwd=str(here)) as terminal:
        for moment in scene.moments:
            terminal.wait_for(moment.shown)
            if moment.name:
                picture = picture_of(terminal.screen, title)
                (out / f"{scene.name}-{columns}-{moment.name}.svg").write_text(picture, encoding="utf-8")
            shown_in = IN_DOCS.get((scene.name, moment.name, columns))
            if writes_docs and shown_in is not None:
                picture = picture_of(terminal.screen, title, is_cropped=True)
                (DOCS / shown_in).write_text(picture, encoding="utf-8")
            terminal.type(moment.keys)


if __name__ == "__main__":
    raise SystemExit(main())
