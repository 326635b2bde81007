"""The sections of the policy about the site as a whole: access, scheduling, notices, lifecycle and the like.

A section is complete: what the file leaves out has the value that stands here. Parts of the product that are not
built yet find their settings here when they come; until then a setting is kept and shown, and nothing obeys it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


OBSERVE, ENFORCE = "observe", "enforce"
"""Values of `lifecycle.mode`."""
SHOW_USERS, SHOW_GROUPS = "users", "groups"
"""Values of `access.show_holders`; the third is `none`."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may reach what.

    Attributes:
        registries: Hosts that images may come from; None: any.
        ports: Lowest and highest port that is given out for published ports.
        show_holders: Who sees the holders of GPUs: users, groups or none.
    """

    registries: tuple[str, ...] | None = None
    ports: tuple[int, int] = (20000, 29999)
    show_holders: str = SHOW_USERS


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each part counts in the order of those who wait.

    Attributes:
        priority: Of the priority.
        age_per_hour: Of every hour of waiting.
        fair_share: Of what was not used lately.
    """

    priority: float = 100.0
    age_per_hour: float = 1.0
    fair_share: float = 50.0


@dataclass(frozen=True, slots=True)
class Scheduling:
    """How those who wait are served.

    Attributes:
        weights: What counts how much.
        fair_share_half_life: After this time, use counts half.
        age_guard: Who waits longer than this is not passed any more.
        no_show: A grant that is not used for this long goes back.
        assumed_duration: How long a request without a time limit is thought to run.
    """

    weights: Weights = field(default_factory=Weights)
    fair_share_half_life: timedelta = timedelta(days=7)
    age_guard: timedelta = 48 * HOUR
    no_show: timedelta = 30 * MINUTE
    assumed_duration: timedelta = 8 * HOUR


@dataclass(frozen=True, slots=True)
class Notices:
    """How people are told.

    Attributes:
        terminal: On the user's own terminals.
        workspace_file: By a file in the workspace.
        sendmail: Program that sends mail; None: no mail.
        webhook_url_file: File that holds the address of a webhook; None: none.
    """

    terminal: bool = True
    workspace_file: bool = True
    sendmail: str | None = None
    webhook_url_file: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Reports about use.

    Attributes:
        co2_g_per_kwh: Grams of CO2 for each kWh; None: reports say nothing about it.
    """

    co2_g_per_kwh: float | None = None


@dataclass(frozen=True, slots=True)
class Cache:
    """Caches that containers share.

    Attributes:
        shared: Folder of the host; None: none is shared.
    """

    shared: str | None = None


@dataclass(frozen=True, slots=True)
class Builds:
    """What holds for every build of an image.

    Attributes:
        time_limit: Longest time that a build may take; None: without end.
        proxy_file: File with the site's proxies, a line `HTTP_PROXY=address` each; None: none.
        pip_config_file: Configuration of pip that builds use and no image keeps; None: none.
    """

    time_limit: timedelta | None = None
    proxy_file: str | None = None
    pip_config_file: str | None = None


@dataclass(frozen=True, slots=True)
class CatalogueSettings:
    """Where framework images are listed.

    Attributes:
        aime_dir: Folder of an AIME installation whose list is read too; None: none.
    """

    aime_dir: str | None = None


@dataclass(frozen=True, slots=True)
class Sharing:
    """Whether containers share a device.

    Attributes:
        max_containers_per_gpu: Containers that may hold one device at a time.
    """

    max_containers_per_gpu: int = 1


@dataclass(frozen=True, slots=True)
class LateBinding:
    """Whether containers get their GPUs at each start instead of for good (server mode, an engine with CDI).

    Attributes:
        enabled: New containers are made so.
        directory: Folder where the daemon writes what each container is given; the engine must read it.
        file_mode: Mode of the files in it.
    """

    enabled: bool = False
    directory: str = "/var/run/cdi"
    file_mode: str = "0644"


@dataclass(frozen=True, slots=True)
class IdleRule:
    """When a container counts as idle: every signal below its threshold, `window` samples in a row.

    Attributes:
        gpu_utilization: Ratio.
        cpu: Ratio of one CPU.
        network: Bytes in one sample.
        window: Samples.
        grace_after_start: No container is idle so soon after its start.
    """

    gpu_utilization: float = 0.05
    cpu: float = 0.02
    network: int = 1024**2
    window: int = 3
    grace_after_start: timedelta = 30 * MINUTE


@dataclass(frozen=True, slots=True)
class Step:
    """What happens at a share of a timeout.

    Attributes:
        action: warn, final or stop.
        at: Ratio of the timeout.
    """

    action: str
    at: float


@dataclass(frozen=True, slots=True)
class HighDemand:
    """What changes when most of the machine is in use.

    Attributes:
        threshold: Ratio of the gpu-equivalents in use.
        idle_factor: The idle timeout is multiplied by it.
    """

    threshold: float = 0.8
    idle_factor: float = 0.5


@dataclass(frozen=True, slots=True)
class StopGrace:
    """Time between SIGTERM and SIGKILL, by kind of container.

    Attributes:
        default: Where the kind says nothing else.
        devcontainer: Development containers of an editor.
        compose: Containers of docker compose.
        docker: Containers of plain docker.
        api: Containers of another program through the engine's API.
        unknown: All others.
    """

    default: timedelta = MINUTE
    devcontainer: timedelta = MINUTE / 2
    compose: timedelta = 45 * MINUTE / 60
    docker: timedelta | None = None
    api: timedelta | None = None
    unknown: timedelta | None = None

    def of(self, kind: str) -> timedelta:
        """Return what a kind of container gets, such as `compose`; one that is not named here gets the default."""
        lengths = {
            "devcontainer": self.devcontainer,
            "compose": self.compose,
            "docker": self.docker,
            "api": self.api,
            "unknown": self.unknown,
        }
        found = lengths.get(kind)
        return self.default if found is None else found


@dataclass(frozen=True, slots=True)
class Exempt:
    """Users whose containers are never stopped automatically.

    Attributes:
        users: Login names or `uid:N`.
    """

    users: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """What happens to containers by itself.

    Attributes:
        mode: observe: decide and record only; enforce: act.
        unmanaged: What happens about GPU processes that no container of ours has: report, notify or stop.
        idle: When a container is idle.
        steps: Steps of the idle timeout.
        min_notice: Least time between two steps.
        on_idle: stop, release_gpu or mark.
        keep_max: Longest time that a user may keep an idle container.
        high_demand: What changes when most of the machine is in use.
        time_limit_steps: Steps of the time limit.
        stop_grace: Time between SIGTERM and SIGKILL.
        created_timeout: A container that is never started gives back its grant after this time.
        quiet_hours: Local hours without stops, `22:00-07:00`; None: none.
        exempt: Who is never stopped automatically.
    """

    mode: str = OBSERVE
    unmanaged: str = "report"
    idle: IdleRule = field(default_factory=IdleRule)
    steps: tuple[Step, ...] = (Step("warn", 0.8), Step("final", 0.95), Step("stop", 1.0))
    min_notice: timedelta = 10 * MINUTE
    on_idle: str = "stop"
    keep_max: timedelta | None = 24 * HOUR
    high_demand: HighDemand = field(default_factory=HighDemand)
    time_limit_steps: tuple[Step, ...] = (Step("warn", 0.75), Step("final", 0.9), Step("stop", 1.0))
    stop_grace: StopGrace = field(default_factory=StopGrace)
    created_timeout: timedelta | None = 30 * MINUTE
    quiet_hours: str | None = None
    exempt: Exempt = field(default_factory=Exempt)


@dataclass(frozen=True, slots=True)
class Reservation:
    """GPUs that are kept for a user in a time window.

    Attributes:
        gpus: How many devices.
        kind: any, mig or full.
        start: Begin.
        end: End.
        reason: Why, for people.
    """

    gpus: int
    start: datetime
    end: datetime
    kind: str = "any"
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Site:
    """Every section about the site, and where each value was set.

    Attributes:
        access: Who may reach what.
        scheduling: How those who wait are served.
        notices: How people are told.
        report: Reports about use.
        cache: Caches that containers share.
        builds: What holds for every build of an image.
        catalogue: Where framework images are listed.
        sharing: Whether containers share a device.
        late_binding: Whether containers get their GPUs at each start.
        lifecycle: What happens to containers by itself.
        origins: Dotted key to `file:line`; what is not there is built-in.
    """

    access: Access = field(default_factory=Access)
    scheduling: Scheduling = field(default_factory=Scheduling)
    notices: Notices = field(default_factory=Notices)
    report: Report = field(default_factory=Report)
    cache: Cache = field(default_factory=Cache)
    builds: Builds = field(default_factory=Builds)
    catalogue: CatalogueSettings = field(default_factory=CatalogueSettings)
    sharing: Sharing = field(default_factory=Sharing)
    late_binding: LateBinding = field(default_factory=LateBinding)
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    origins: Mapping[str, str] = field(default_factory=dict)
