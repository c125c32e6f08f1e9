"""What a run was told, from the record beside its results: Hydra's, or the one `configs.record` writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from configs.errors import UserError
from configs.renamed_keys import current_name

CONFIGS = ("resolved.yaml", ".hydra/config.yaml", "config.yaml")
OVERRIDES = ("overrides.yaml", ".hydra/overrides.yaml")
ABSENT = "–"  # of a key that a run does not have


@dataclass(frozen=True)
class Settings:
    """Settings by dotted key, and those of them that the command line gave, in its words.

    A group that was chosen (`model=nano`) stands in `overrides` alone, its keys in `values`.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, str] = field(default_factory=dict)

    def told(self, key: str) -> Any:
        """What this run was told for a key; `ABSENT` where it has no such key."""
        return self.values.get(key, self.overrides.get(key, ABSENT))


def is_run(folder: Path) -> bool:
    """Whether a folder holds a record of settings."""
    return any((folder / name).is_file() for name in CONFIGS)


def read_settings(folder: Path) -> Settings:
    """The settings of a run. Raises UserError for a record that cannot be read."""
    path = next(folder / name for name in CONFIGS if (folder / name).is_file())
    content = OmegaConf.to_container(_load(path), resolve=False)
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no settings; it must be a mapping of keys")
    values = _flat(content, str(content.get("out") or ""))
    listed = next((folder / name for name in OVERRIDES if (folder / name).is_file()), None)
    overrides = {} if listed is None else _overrides(listed)
    # Runs of earlier versions are compared by the present names of keys.
    return Settings(*({current_name(key): each[key] for key in each} for each in (values, overrides)))


def _load(path: Path) -> Any:
    try:
        return OmegaConf.load(path)
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException) as fault:
        raise UserError(
            f"{path}: cannot be read ({str(fault).splitlines()[0]}); repair or remove it"
        ) from None


def _flat(content: Any, out: str, prefix: str = "") -> dict[str, Any]:
    """Settings by dotted key. A list of plain values is one value; the results folder differs anyway."""
    if isinstance(content, list) and not any(isinstance(each, dict | list) for each in content):
        content = f"[{', '.join(map(str, content))}]"
    if isinstance(content, list):
        content = dict(enumerate(content))
    if not isinstance(content, dict):
        return {prefix: content.replace(out, "${out}") if out and isinstance(content, str) else content}
    found: dict[str, Any] = {}
    for name, value in content.items():
        found |= _flat(value, out, f"{prefix}.{name}" if prefix else str(name))
    return found


def _overrides(path: Path) -> dict[str, str]:
    listed = _load(path)
    if not isinstance(listed, ListConfig):
        raise UserError(f"{path}: holds no list of overrides; repair or remove it")
    parser = OverridesParser.create()
    found: dict[str, str] = {}
    for line in listed:
        try:
            override = parser.parse_override(str(line))
        except HydraException:
            raise UserError(f"{path}: {str(line)!r} is no override; repair or remove it") from None
        value = "" if override.is_delete() else override.get_value_element_as_str()
        found[override.key_or_group] = value
    return found


def differing(runs: Sequence[Settings]) -> list[str]:
    """The keys that tell runs apart, in the order in which they are first met.

    Those are keys that the command lines gave, where these differ: a group that was chosen changes many
    settings, and is one key. Else they are the settings that differ.
    """
    by_line = [run.overrides for run in runs]
    return _differing(by_line) or _differing([run.values for run in runs])


def _differing(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for run in runs for key in run)
    told = {key: {repr(run.get(key, ABSENT)) for run in runs} for key in keys if not _of_the_place(key)}
    return [key for key, values in told.items() if len(values) > 1]


def _of_the_place(key: str) -> bool:
    """Whether a key says where a run's results lie, or how Hydra was to make the folder."""
    return key == "out" or key.startswith(("hydra.", "hydra/"))
