"""What is played: the keys of a person in the wizards, and after which of them a picture is taken."""

from dataclasses import dataclass

ENTER, DOWN = "\r", "\x1b[B"


@dataclass(frozen=True, slots=True)
class Moment:
    """A question and what is done about it.

    Attributes:
        shown: Text that has to be there.
        keys: What is typed then.
        name: Name of the picture that is taken before; empty: none.
    """

    shown: str
    keys: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Scene:
    """One command on a terminal.

    Attributes:
        name: Begins the names of its pictures.
        words: What is typed after `ds01`.
        moments: What happens.
    """

    name: str
    words: tuple[str, ...]
    moments: tuple[Moment, ...]


_IMAGE = (
    Moment("Name of the image?", "thesis\r", "name"),
    Moment("Which framework?", ENTER, "framework"),
    Moment("Go on?", ENTER, "base"),
    Moment("Jupyter?", ENTER, "jupyter"),
    Moment("Data science?", ENTER, "data-science"),
    Moment("What is it for?", DOWN + DOWN + ENTER, "use-case"),
    Moment("More packages of Python", "pandas\r", "more"),
    Moment("Already installed", "'polars>=1' rich\r", "duplicate"),
    Moment("by apt", "ffmpeg\r"),
    Moment("pyproject.toml?", "none.txt\r"),
    Moment("There is no file", ENTER, "no-file"),
    Moment("Write the Dockerfile", "\x03", "summary"),
)
_CONTAINER = (
    Moment("Made from what?", ENTER, "source"),
    Moment("Which framework?", ENTER, "framework"),
    Moment("Which version?", ENTER, "version"),
    Moment("Name of the container?", "My Thesis!\r", "name"),
    Moment("/workspace inside?", ENTER, "folders"),
    Moment("/data inside?", "/nowhere\r"),
    Moment("not a folder", ENTER, "no-folder"),
    Moment("/models inside?", ENTER),
    Moment("Which GPU?", ENTER, "gpus"),
    Moment("All right?", "\x03", "summary"),
)
_IMAGE_OF_THE_GUIDE = (
    Moment("Name of the image?", "thesis\r"),
    *(Moment(question, ENTER) for question in ("Which framework?", "Go on?", "Jupyter?", "Data science?")),
    Moment("What is it for?", DOWN + DOWN + ENTER),
    Moment("More packages of Python", "'polars>=1,<2' rich\r"),
    Moment("by apt", "ffmpeg\r"),
    Moment("pyproject.toml?", ENTER),
    Moment("Write the Dockerfile", "\x03", "summary"),
)
_CONTAINER_OF_THE_GUIDE = (
    *(Moment(question, ENTER) for question in ("Made from what?", "Which framework?", "Which version?")),
    Moment("Name of the container?", "thesis\r"),
    *(Moment(f"/{folder} inside?", ENTER) for folder in ("workspace", "data", "models")),
    Moment("Which GPU?", "\x03", "gpus"),
)
SCENES = (
    Scene("image", ("image", "create"), _IMAGE),
    Scene("image-guided", ("image", "create", "--guided"), _IMAGE),
    Scene("container", ("create",), _CONTAINER),
    Scene("container-guided", ("create", "--guided"), _CONTAINER),
    Scene("guide-image", ("image", "create"), _IMAGE_OF_THE_GUIDE),
    Scene("guide-container", ("create",), _CONTAINER_OF_THE_GUIDE),
)
SIZES = ((80, 24), (200, 50))
IN_DOCS = {("guide-image", "summary", 80): "image-create.svg", ("guide-container", "gpus", 80): "create.svg"}
"""Pictures of the guide, by scene, moment and columns."""
