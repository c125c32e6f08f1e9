"""Registries: who owns a name, what is found by listing a package, and what settings stand for."""

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from configs.errors import UserError
from configs.extensions import OptionRegistry, Registry


@dataclass(frozen=True)
class Narrow:
    """Settings of two options."""

    width: int = 1


@dataclass(frozen=True)
class Wide:
    """Settings of another."""

    width: int = 9


def test_a_name_belongs_to_its_owner_who_may_replace_it() -> None:
    shapes: Registry[int] = Registry("shape")
    for value in (1, 2):
        shapes.register("round", value, "round.py")
    with pytest.raises(ValueError, match=r"shape=round is registered already by round\.py, and now by other"):
        shapes.register("round", 3, "other.py")
    assert dict(shapes) == {"round": 2} and len(shapes) == 1


def test_every_module_of_the_package_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "shapes_of_a_test"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from configs.extensions import Registry\nSHAPES = Registry('s', __name__)\n"
    )
    for name in ("square", "star"):
        (folder / f"{name}.py").write_text(
            f"from shapes_of_a_test import SHAPES\nSHAPES.register('{name}', 4, __name__)\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    shapes_of_a_test = importlib.import_module("shapes_of_a_test")

    shapes_of_a_test.SHAPES.load_package()
    assert sorted(shapes_of_a_test.SHAPES) == ["square", "star"]
    for name in [name for name in sys.modules if name.startswith("shapes_of_a_test")]:
        monkeypatch.delitem(sys.modules, name)


def test_the_class_of_settings_leads_to_the_target() -> None:
    widths: OptionRegistry[str] = OptionRegistry("width")
    widths.register_options("thin", {"a": Narrow(), "b": Narrow(2)})
    widths.register_options("thick", {"c": Wide()})
    assert dict(widths) == {"a": Narrow(), "b": Narrow(2), "c": Wide()}
    assert [widths.target_of(each) for each in (Narrow(5), Wide())] == ["thin", "thick"]
    with pytest.raises(ValueError, match=r"width=a is registered already by .*Narrow, and now by .*Wide"):
        widths.register_options("thick", {"a": Wide()})
    with pytest.raises(TypeError, match="width: the options d, e must be objects of one dataclass"):
        widths.register_options("both", {"d": Narrow(), "e": Wide()})
    with pytest.raises(TypeError):
        widths.register_options("none", {"d": 3})
    with pytest.raises(UserError, match="no width is registered for int"):
        widths.target_of(3)
