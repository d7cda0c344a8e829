"""Settings that people type as flags: which there are, how `--help` shows them, what they win over.

A flag's meaning, default and limits are its setting's own; every other setting is a variable.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from service import settings
from service.errors import StartRefused
from service.settings import Settings

EPILOG = "Flags win over variables. All settings: mindalle config show --describe."


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag, the setting that it sets, and the heading under which `--help` lists it."""

    name: str
    setting: str  # fields with dots between them
    metavar: str
    heading: str
    about: str = ""  # where the setting's own words are too many
    default: str = ""  # in words, where the setting's own says too little

    @property
    def variable(self) -> str:
        """The environment variable of the same setting."""
        return f"MINDALLE_{self.setting.replace('.', '__').upper()}"

    @property
    def help(self) -> str:
        """What it means, its variable and its default."""
        field = _field(self.setting)
        default = self.default or _default(field)
        about = self.about or (field.description or "").rstrip(".")
        return f"{about} ({self.variable}; default: {default})".replace("%", "%%")


_LISTENING, _DRAWING, _QUEUE = "where it listens", "what it draws with", "where jobs wait"
_METRICS_PORT = "Port of the worker's /metrics; 0 switches it off"
_WEIGHTS = "Folder with the weights"
_MODELS = "Comma-separated presets, or preset=folder, for a worker of several models"
_ROWS = "Candidates per step"
_ADDRESS = "Redis or Valkey; a password is better kept in the variable"
HTTP = (
    Flag("--host", "api.host", "ADDRESS", _LISTENING),
    Flag("--port", "api.port", "PORT", _LISTENING),
)
METRICS = (
    Flag("--host", "worker.metrics_host", "ADDRESS", _LISTENING),
    Flag("--port", "worker.metrics_port", "PORT", _LISTENING, _METRICS_PORT),
)
MODEL = (Flag("--model", "model", "PRESET", _DRAWING),)
WORKER = (
    Flag("--models", "worker.models", "PRESETS", _DRAWING, _MODELS, "--model alone"),
    Flag("--checkpoint", "worker.checkpoint", "DIR", _DRAWING, _WEIGHTS, "the preset's own place"),
    Flag("--device", "worker.device", "DEVICE", _DRAWING),
    Flag("--rows", "worker.rows", "N", _DRAWING, _ROWS, "what memory holds; 32 on a CPU"),
)
REDIS = (Flag("--redis", "redis.url", "URL", _QUEUE, _ADDRESS),)
OWN_REDIS = (Flag("--redis", "redis.url", "URL", _QUEUE, _ADDRESS, "a Valkey of its own"),)


def add(parser: ArgumentParser, *flags: Flag) -> None:
    """Declare the flags below their headings."""
    parser.epilog = EPILOG
    groups = {heading: parser.add_argument_group(heading) for heading in _headings(flags)}
    for flag in flags:
        groups[flag.heading].add_argument(flag.name, metavar=flag.metavar, help=flag.help)


def _headings(flags: tuple[Flag, ...]) -> list[str]:
    return list(dict.fromkeys(flag.heading for flag in flags))


def variables(args: Namespace, *flags: Flag) -> dict[str, str]:
    """The flags that were given, as the variables that a child process reads."""
    given = {flag.variable: getattr(args, flag.name.lstrip("-")) for flag in flags}
    return {name: value for name, value in given.items() if value}  # an empty one is unset


def load(args: Namespace, *flags: Flag) -> Settings:
    """The settings with these flags over them. StartRefused names the flag that is wrong."""
    given = variables(args, *flags)
    overrides: dict[str, object] = {}
    for flag in flags:
        if flag.variable in given:
            group, _, field = flag.setting.rpartition(".")
            into = overrides.setdefault(group, {}) if group else overrides
            assert isinstance(into, dict)
            into[field] = given[flag.variable]
    try:
        return settings.load(**overrides)
    except StartRefused as error:
        raise StartRefused(_named(str(error), flags, given)) from None


def add_checkpoint(parser: ArgumentParser) -> None:
    """Declare the one flag of a setting that commands have which draw here, without a service."""
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="DIR",
        help="folder with the weights "
        "(default: MINDALLE_WORKER__CHECKPOINT, or the preset's own place)",
    )


def load_with_checkpoint(args: Namespace) -> Settings:
    """The settings with that flag's folder, where it was given. StartRefused as any of them."""
    given = {} if args.checkpoint is None else {"worker": {"checkpoint": args.checkpoint}}
    return settings.load(**given)


def _named(message: str, flags: tuple[Flag, ...], given: Mapping[str, str]) -> str:
    """The message with a flag in place of the variable that nobody typed."""
    for flag in flags:
        if flag.variable in given and message.startswith(f"{flag.variable}: "):
            return f"{flag.name}{message.removeprefix(flag.variable)}"
    return message


def _field(setting: str) -> FieldInfo:
    group: type[BaseModel] = Settings
    *outer, name = setting.split(".")
    for part in outer:
        inner = group.model_fields[part].annotation
        assert isinstance(inner, type)
        assert issubclass(inner, BaseModel)
        group = inner
    return group.model_fields[name]


def _default(field: FieldInfo) -> str:
    value = field.get_default()
    return str(value.get_secret_value() if isinstance(value, SecretStr) else value)
