"""Labels of containers and images. One namespace, `aime.mlc.`: AIME's ten and ours.

Labels inform; ownership and grants are decided by the database and the uid in the name, so a forged label gains
nothing. No value holds a comma, because AIME's tool splits at commas.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ds01.domain.name import EngineName
from ds01.domain.user import User

PREFIX = "aime.mlc"
SCHEMA_VERSION = "1"
MLC_LAYOUT_VERSION = "4"
NO_MOUNT = "-"
RESERVED_PREFIXES = ("aime.mlc", "ds01.")

OWNER = PREFIX
NAME = f"{PREFIX}.NAME"
USER = f"{PREFIX}.USER"
ARCH = f"{PREFIX}.ARCH"
MLC_VERSION = f"{PREFIX}.MLC_VERSION"
WORK_MOUNT = f"{PREFIX}.WORK_MOUNT"
DATA_MOUNT = f"{PREFIX}.DATA_MOUNT"
MODELS_MOUNT = f"{PREFIX}.MODELS_MOUNT"
FRAMEWORK = f"{PREFIX}.FRAMEWORK"
GPUS = f"{PREFIX}.GPUS"
SCHEMA = f"{PREFIX}.DS01_SCHEMA"
MANAGED = f"{PREFIX}.DS01_MANAGED"
UID = f"{PREFIX}.DS01_UID"
ALLOCATION = f"{PREFIX}.DS01_ALLOCATION"
GPU_UUIDS = f"{PREFIX}.DS01_GPUS"
REQUEST = f"{PREFIX}.DS01_REQUEST"
SEAL = f"{PREFIX}.DS01_SEAL"
NONCE = f"{PREFIX}.DS01_NONCE"
INTERFACE = f"{PREFIX}.DS01_INTERFACE"
GROUP = f"{PREFIX}.DS01_GROUP"
CREATED = f"{PREFIX}.DS01_CREATED"
CUSTOM_IMAGE = f"{PREFIX}.CUSTOM_IMAGE"
X11 = f"{PREFIX}.DS01_X11"
MAINTAINER = f"{PREFIX}.MAINTAINER"
USE_CASE = f"{PREFIX}.DS01_USE_CASE"
RECIPE = f"{PREFIX}.DS01_RECIPE"
BASES = f"{PREFIX}.DS01_BASES"

LABELS: Mapping[str, str] = {
    OWNER: "Login name of the owner (AIME).",
    NAME: "Name as the owner knows it (AIME).",
    USER: "Login name of the owner (AIME).",
    ARCH: "CUDA generation of the image, such as CUDA_ADA (AIME).",
    MLC_VERSION: "Version of AIME's container layout, always 4 (AIME).",
    WORK_MOUNT: "Host directory at /workspace (AIME).",
    DATA_MOUNT: "Host directory at /data, `-` without (AIME).",
    MODELS_MOUNT: "Host directory at /models, `-` without (AIME).",
    FRAMEWORK: "Framework and version, such as Pytorch-2.8.0-aime; `custom-latest` for other images (AIME).",
    GPUS: "The request for GPUs as text of docker's --gpus (AIME).",
    SCHEMA: "Version of these labels.",
    MANAGED: "`true`: made by DS01.",
    UID: "Number of the owner; of a custom image, of who built it.",
    ALLOCATION: "Id of the allocation.",
    GPU_UUIDS: "Devices as of creation, joined by `;`; empty where they are bound at each start.",
    REQUEST: "The request for GPUs in our words.",
    SEAL: "HMAC-SHA-256 over uid, allocation and request with the daemon's key.",
    NONCE: "Random text by which an unfinished creation is found again.",
    INTERFACE: "Front end it was made with: cli, api, mlc.",
    GROUP: "Policy group of the owner at creation.",
    CREATED: "When it was made, UTC; of a custom image the day when its Dockerfile was.",
    CUSTOM_IMAGE: "Image given by the user; empty for images of the catalogue.",
    X11: "`true`: programs that are opened in it get their user's display.",
    MAINTAINER: "Who built a custom image.",
    USE_CASE: "Use case that a custom image was made for, such as cv.",
    BASES: "Images that a custom image was built from: `name=digest`, or the id without a digest, joined by `;`.",
    RECIPE: "SHA-256 of the Dockerfile that a custom image was built from.",
}
"""Every label we write, with its meaning; docs/reference/labels.md is checked against this."""


@dataclass(frozen=True, slots=True)
class LabelFacts:
    """What the labels of one container say.

    Attributes:
        owner: The user.
        engine_name: Name on the engine.
        architecture: CUDA generation of the image; empty if unknown.
        workspace: Host directory at /workspace.
        data: Host directory at /data.
        models: Host directory at /models.
        framework: Framework and version.
        gpus_text: The request as text of docker's --gpus.
        allocation_id: Id of the allocation.
        gpu_uuids: Devices granted.
        request: The request in our words.
        seal: Seal.
        nonce: Nonce.
        interface: Front end.
        group: Policy group.
        created_at: Moment of creation.
        custom_image: Image given by the user; empty for images of the catalogue.
        shares_display: Programs that are opened in it get their user's display.
    """

    owner: User
    engine_name: EngineName
    architecture: str
    workspace: str
    data: str | None
    models: str | None
    framework: str
    gpus_text: str
    allocation_id: str
    gpu_uuids: tuple[str, ...]
    request: str
    seal: str
    nonce: str
    interface: str
    group: str
    created_at: datetime
    custom_image: str = ""
    shares_display: bool = False


def build_labels(facts: LabelFacts) -> dict[str, str]:
    """Return the labels of a new container, in AIME's order and then ours. No value holds a comma."""
    labels = {
        OWNER: facts.owner.name,
        NAME: facts.engine_name.name,
        USER: facts.owner.name,
        ARCH: facts.architecture,
        MLC_VERSION: MLC_LAYOUT_VERSION,
        WORK_MOUNT: facts.workspace,
        DATA_MOUNT: facts.data or NO_MOUNT,
        MODELS_MOUNT: facts.models or NO_MOUNT,
        FRAMEWORK: facts.framework,
        GPUS: facts.gpus_text,
        CUSTOM_IMAGE: facts.custom_image,
        SCHEMA: SCHEMA_VERSION,
        MANAGED: "true",
        UID: str(facts.owner.uid),
        ALLOCATION: facts.allocation_id,
        GPU_UUIDS: ";".join(facts.gpu_uuids),
        REQUEST: facts.request,
        SEAL: facts.seal,
        NONCE: facts.nonce,
        INTERFACE: facts.interface,
        GROUP: facts.group,
        CREATED: facts.created_at.isoformat(),
        **({X11: "true"} if facts.shares_display else {}),
    }
    return {name: clean_value(value) for name, value in labels.items()}


def clean_value(value: str) -> str:
    """Return a label value without commas and line breaks."""
    return value.replace(",", ";").replace("\n", " ").replace("\r", " ")


def cleaned_inherited(labels: Mapping[str, str]) -> dict[str, str]:
    """Return new values for those labels of an image that hold a comma: a container would inherit them."""
    return {name: clean_value(value) for name, value in labels.items() if clean_value(value) != value}


def is_ours(labels: Mapping[str, str]) -> bool:
    """Tell whether the labels claim that DS01 made the container (a hint only)."""
    return labels.get(MANAGED) == "true" and ALLOCATION in labels
