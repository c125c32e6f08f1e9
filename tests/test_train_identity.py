"""A run goes on only with the data, the weights and the code that it began with."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import train.config  # noqa: F401  # registers the recipes
from configs.errors import UserError
from data_prep.identity import files_identity, index_frames_identity
from data_prep.index.build import build_index, index_path
from data_prep.index.store import Index
from data_prep.readers.tnllt import TNLLT
from models.config import GrounderConfig
from tests.objectives import cpu_strategy
from tests.test_export import write_video
from tests.test_sft import recipe_of
from tests.tiny_models import save_grounder
from train.loop.identity import (
    check_identity,
    check_identity_exists,
    identity_from_scratch,
    read_identity,
    with_earlier_code,
    write_identity,
)
from train.registry import RECIPES, function_of, module_of
from train.scratch.config import MaskHeadRecipe
from train.sft.objective import SftObjective, sft_trainer
from train.sft.sources import identity_of_run

pytestmark = pytest.mark.usefixtures("without_plots")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set with its index, a tiny grounder, and a folder that holds the identity of a run."""
    root = tmp_path_factory.mktemp("identity")
    for name in ("one", "two"):
        write_video(root / "data", name, (192, 108))
    build_index(TNLLT, root / "data", "all", root, workers=1)
    save_grounder(root / "model")
    write_identity(root / "run", identity(root))
    return root


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of it, whose files have other times."""
    root = tmp_path / "copy"
    shutil.copytree(made, root, copy_function=shutil.copyfile)
    build_index(TNLLT, root / "data", "all", root, workers=1)
    return root


def identity(root: Path) -> dict[str, object]:
    recipe = recipe_of(Path("indexes"))
    recipe = replace(recipe, train_data=replace(recipe.train_data, indexes=str(root)), evaluate=[])
    found = identity_of_run(recipe, GrounderConfig(str(root / "model")), root / "worlds")
    return {**found, "recipe": "the same, but for the paths", "model": "the same"}


def frames(root: Path) -> list[Path]:
    return sorted(each for each in (root / "data").rglob("*") if each.suffix in (".jpg", ".png"))


def mirror_one(root: Path) -> None:
    picture = Image.open(frames(root)[2])
    picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(frames(root)[2], quality=95)


def exchange_two(root: Path) -> None:
    one, two = frames(root)[0], frames(root)[4]
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)


def change_boxes(root: Path) -> None:
    boxes = next((root / "data").rglob("groundtruth.txt"))
    boxes.write_text(boxes.read_text().replace("0", "1"))
    build_index(TNLLT, root / "data", "all", root, workers=1)


def change_contract(root: Path) -> None:
    path = root / "model" / "contract.json"
    path.write_text(path.read_text() + "\n")


def change_weights(root: Path) -> None:
    path = root / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")


def test_data_and_weights_that_were_copied_are_the_same(folder: Path) -> None:
    check_identity(folder / "run", identity(folder))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (mirror_one, r"other data \(frames of tnllt-all \(recipe\.train_data\)\)"),
        (exchange_two, r"other data \(frames of tnllt-all \(recipe\.train_data\)\)"),
        (change_boxes, r"other data \(annotations of tnllt-all \(recipe\.train_data\)\)"),
        (change_contract, "other initial weights"),
        (change_weights, "other initial weights"),
    ],
)
def test_what_was_exchanged_is_named_with_the_remedy(
    folder: Path, change: Callable[[Path], None], told: str
) -> None:
    change(folder)
    with pytest.raises(UserError, match=f"{told}.*; take another out=, or put the old") as fault:
        check_identity(folder / "run", identity(folder), accept_code=True)
    assert "\n" not in str(fault.value)


def test_a_training_itself_refuses_other_data_before_it_loads(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, out = GrounderConfig(str(folder / "model"), dtype="float32"), folder / "out"
    sft_trainer(recipe_of(folder), model, out, cpu_strategy())
    before = read_identity(out)
    assert before is not None and before["data"] and before["checkpoint"] and before["code"]
    change_boxes(folder)
    monkeypatch.setattr(SftObjective, "build", lambda _: pytest.fail("loads"))
    told = (
        r"annotations of tnllt-all \(recipe\.train_data\), annotations of tnllt-all \(recipe\.evaluate\.0\)"
    )
    with pytest.raises(UserError, match=told):
        sft_trainer(recipe_of(folder), model, out, cpu_strategy())
    assert read_identity(out) == before


def test_other_code_is_refused_and_accepted_by_a_key(tmp_path: Path) -> None:
    one, two = {"a": 1, "code": "one"}, {"a": 1, "code": "two"}
    write_identity(tmp_path, one)
    with pytest.raises(UserError, match=r"a run of other code; take another out=, or .*accept_code=true"):
        check_identity(tmp_path, two)
    with pytest.raises(UserError, match=r"other settings \(a\) and other code; take another out=$"):
        check_identity(tmp_path, {**two, "a": 2}, accept_code=True)
    check_identity(tmp_path, two, accept_code=True)
    check_identity(tmp_path, two)  # from now on it is this code's
    write_identity(tmp_path, with_earlier_code(tmp_path, two))
    assert read_identity(tmp_path) == {**two, "other_code": ["one"]}


def test_weights_that_a_run_from_scratch_begins_from_belong_to_it(folder: Path) -> None:
    recipe = MaskHeadRecipe(initial=str(folder / "model"))
    write_identity(folder, identity_from_scratch(recipe, "train.scratch.mask_head"))
    check_identity(folder, identity_from_scratch(recipe, "train.scratch.mask_head"))
    change_weights(folder)
    with pytest.raises(UserError, match="other initial weights"):
        check_identity(folder, identity_from_scratch(recipe, "train.scratch.mask_head"))


@pytest.mark.parametrize("content", ["{", "[1]", '"x"', "[" * 99_999, "\udcff"])
def test_damaged_settings_are_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "settings.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(
        UserError, match=r"settings\.json: cannot be read \(.*restore it, or take another out="
    ):
        check_identity(tmp_path, {"a": 1})


def test_checkpoints_without_settings_are_refused(tmp_path: Path) -> None:
    check_identity_exists(tmp_path, [])
    with pytest.raises(UserError, match=r"settings\.json: is missing"):
        check_identity_exists(tmp_path, [3])


def test_files_are_told_by_name_order_size_and_ends(tmp_path: Path) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_bytes(bytes(range(250)) * 40)
    before = files_identity(paths)
    assert files_identity(paths) == before != files_identity(paths[::-1])
    seen = {before, files_identity([*paths, tmp_path / "missing"])}
    for place in (0, 4095, 9_999):
        content = bytearray(bytes(range(250)) * 40)
        content[place] ^= 1
        paths[1].write_bytes(content)
        seen.add(files_identity(paths))
    paths[1].write_bytes(bytes(range(250)) * 41)
    assert len({*seen, files_identity(paths)}) == 6


def test_an_index_of_many_frames_is_told_by_some_of_them(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = Index(index_path(made, "tnllt", "all"))
    told: list[str] = []
    monkeypatch.setattr(
        "data_prep.identity.files_identity", lambda paths: told.extend(map(str, paths)) or "x"
    )
    monkeypatch.setattr("data_prep.identity.FRAMES", 3)
    assert index_frames_identity(index) == "x"
    every = [str(path) for number in range(len(index)) for path in index.sequence(number).frames.paths]
    assert told == [every[place] for place in np.linspace(0, len(every) - 1, 3).astype(int)]


def test_settings_of_earlier_versions_are_compared_by_the_present_names(tmp_path: Path) -> None:
    frames = {"frames of x (recipe.learn)": "a", "frames of x (recipe.judge.0)": "b"}
    old = {
        "recipe": {"judge": [{"split": "test"}], "judge_every": 5, "judge_drawn": "learned", "batch": 4},
        "data": frames,
        "code": "one",
    }
    write_identity(tmp_path, old)
    frames = {"frames of x (recipe.train_data)": "a", "frames of x (recipe.evaluate.0)": "b"}
    new = {
        **old,
        "recipe": {
            "evaluate": [{"split": "test"}],
            "evaluate_every": 5,
            "evaluate_sampling": "train",
            "batch": 4,
        },
        "data": frames,
    }
    assert read_identity(tmp_path) == new
    check_identity(tmp_path, new)
    changed = {**new, "recipe": {**new["recipe"], "evaluate_every": 6}}
    with pytest.raises(UserError, match=r"other settings \(recipe\.evaluate_every\)"):
        check_identity(tmp_path, changed)


def test_the_code_of_a_recipe_is_that_of_the_module_that_trains_it() -> None:
    modules = {name: module_of(recipe) for name, recipe in RECIPES.items()}
    assert modules["nano_mask_head"] == "train.scratch.mask_head" and len(set(modules.values())) > 2
    assert modules == {name: function_of(recipe).__module__ for name, recipe in RECIPES.items()}
