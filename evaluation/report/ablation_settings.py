"""The settings of a run, from the record in its folder: the one of `configs.record`, or Hydra's own."""

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

# In the order of preference: the first one has all interpolations resolved.
CONFIGS = ("resolved.yaml", ".hydra/config.yaml", "config.yaml")
OVERRIDES = ("overrides.yaml", ".hydra/overrides.yaml")
ABSENT = "–"  # stands for the value of a key that a run does not have


@dataclass(frozen=True)
class Settings:
    """All settings by dotted key (`values`), and those of the command line as they were written
    (`overrides`).

    The option of a group (`model=nano`) is in `overrides` alone; the keys of the option are in `values`.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, str] = field(default_factory=dict)

    def value(self, key: str) -> Any:
        """The value of a key or the option of a group; `ABSENT` where the run has no such key."""
        return self.values.get(key, self.overrides.get(key, ABSENT))


def is_run(folder: Path) -> bool:
    """Whether a folder has a record of settings, as every run does."""
    return any((folder / name).is_file() for name in CONFIGS)


def read_settings(folder: Path) -> Settings:
    """The settings of a run. Raises UserError for a record that cannot be read."""
    path = next(folder / name for name in CONFIGS if (folder / name).is_file())
    content = OmegaConf.to_container(_load(path), resolve=False)
    if not isinstance(content, dict):
        raise UserError(f"{path}: is not a mapping of keys to values; repair or remove it")
    # Hydra's record has interpolations unresolved; they are the same in all runs and are compared as text.
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
    """Nested settings by dotted key.

    A list of plain values is one value. The path of the results folder `out` is replaced by `${out}`, because
    it differs between all runs.
    """
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
            raise UserError(f"{path}: {str(line)!r} is not an override; repair or remove it") from None
        value = "" if override.is_delete() else override.get_value_element_as_str()
        found[override.key_or_group] = value
    return found


def differing_keys(runs: Sequence[Settings]) -> list[str]:
    """The keys whose values differ between runs, in the order of their first occurrence.

    Where command lines differ, these are keys of the command lines: the option of a group changes many
    settings but is one key there. Otherwise these are all settings that differ.
    """
    # `or`: an empty list of keys means that the command lines agree.
    by_line = [run.overrides for run in runs]
    return _differing(by_line) or _differing([run.values for run in runs])


def _differing(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for run in runs for key in run)
    # `repr`, because 1, 1.0 and True are equal in a set.
    found = {key: {repr(run.get(key, ABSENT)) for run in runs} for key in keys if not _is_of_folder(key)}
    return [key for key, values in found.items() if len(values) > 1]


def _is_of_folder(key: str) -> bool:
    """Whether a key names the folder of the results, or says how Hydra makes it."""
    return key == "out" or key.startswith(("hydra.", "hydra/"))
