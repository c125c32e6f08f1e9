"""Every key of every option of every command composes, has words, and a default that its own bounds allow."""

import dataclasses
import functools
import importlib

import pytest
from omegaconf import DictConfig, OmegaConf

from configs.app import FOLDER
from configs.command_line import read_command_line
from configs.compose import check, composer
from configs.errors import UserError
from configs.schema import Key, key, keys_of, sections_of

COMMANDS = sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem != "base")


NEEDED = {"data_prep": ["task=index"]}


@functools.cache
def composed(command: str) -> list[tuple[str, DictConfig]]:
    """The configuration of a command with its defaults, and with every option of every group in turn."""
    importlib.import_module(f"{command}.config")
    with composer(command, FOLDER) as composing:
        needed = NEEDED.get(command, [])
        (default,) = composing.jobs(read_command_line(needed))[1]
        groups = [group for group in default.hydra.runtime.choices if "/" not in group]
        choices = [f"{group}={option}" for group in groups for option in composing.options(group)]
        return [("defaults", default)] + [
            (choice, composing._compose(_with_choice(needed, choice))) for choice in choices
        ]


def _with_choice(needed: list[str], choice: str) -> list[str]:
    """The overrides that a command needs, with the option of one group chosen in place of theirs."""
    group = choice.partition("=")[0]
    return [override for override in needed if not override.startswith(f"{group}=")] + [choice]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_key_and_section_has_words(command):
    wordless = {
        f"{choice}: {name}"
        for choice, config in composed(command)
        for name, doc in [*((one.name, one.doc) for one in keys_of(config)), *sections_of(config)]
        if not doc.strip()
    }
    assert not wordless


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_composes_to_allowed_settings(command):
    for choice, config in composed(command):
        try:
            check(config)
        except UserError as fault:
            pytest.fail(f"{command} {choice}: {fault}")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_names_the_folder_of_its_results(command):
    assert "out" in {one.name for one in keys_of(composed(command)[0][1])}


@dataclasses.dataclass(frozen=True)
class Inner:
    """A section."""

    rate: float | None = key(0.5, "a share", minimum=0, maximum=1)


@dataclasses.dataclass(frozen=True)
class Outer:
    """Sections alone and in a list; a key without `key`."""

    names: list[str] = key(["a"], "some names", choices=("a", "b"))
    inner: Inner = key(Inner(), "one section")
    rest: list[Inner] = key([Inner(), Inner(1.0)], "more of them")
    bare: int = 0


def keys_by_name(**changes: object) -> dict[str, Key]:
    return {one.name: one for one in keys_of(OmegaConf.structured(Outer(**changes)))}


def test_keys_are_found_in_sections_and_in_lists_of_them():
    assert list(keys_by_name()) == ["names", "inner.rate", "rest.0.rate", "rest.1.rate", "bare"]
    assert list(keys_by_name(rest=[])) == ["names", "inner.rate", "rest", "bare"]


def test_a_key_declared_without_words_is_seen():
    assert [one.name for one in keys_by_name().values() if not one.doc] == ["bare"]


def test_types_are_told_in_words():
    kinds = {name: one.kind_name for name, one in keys_by_name().items()}
    assert kinds == {
        "names": "list[str]",
        "inner.rate": "float or null",
        "rest.0.rate": "float or null",
        "rest.1.rate": "float or null",
        "bare": "int",
    }


def test_bounds_are_inclusive_and_null_has_none():
    for allowed in (0.0, 1.0, None):
        keys_by_name(inner=Inner(allowed))["inner.rate"].check()
    for refused in (-0.1, 1.1):
        with pytest.raises(UserError, match=r"inner\.rate=.* must be at"):
            keys_by_name(inner=Inner(refused))["inner.rate"].check()


def test_every_entry_of_a_list_is_one_of_the_choices():
    with pytest.raises(UserError, match="names=c: must be one of a, b"):
        keys_by_name(names=["a", "c"])["names"].check()


def test_choices_of_a_function_are_those_of_now():
    names = ["a"]

    @dataclasses.dataclass(frozen=True)
    class Chosen:
        name: str = key("b", "a name", choices=lambda: names)

    (chosen,) = keys_of(OmegaConf.structured(Chosen()))
    with pytest.raises(UserError, match=r"name=b: must be one of a$"):
        chosen.check()
    names.append("b")
    (chosen,) = keys_of(OmegaConf.structured(Chosen()))
    chosen.check()


def test_a_default_that_can_change_is_copied():
    first, second = Outer(), Outer()
    first.names.append("b")
    assert second.names == ["a"]
    assert first.rest is not second.rest
