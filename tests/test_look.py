"""`python -m data_prep task=look`: what the pictures are made of."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from configs.app import run_command
from data_prep import look
from data_prep.__main__ import main
from data_prep.contract.contract import BUILT_IN
from data_prep.index.build import build_index
from data_prep.look import write_samples
from data_prep.readers.tnllt import TNLLT
from data_prep.sampling.lines import PairPlan
from data_prep.sampling.pairs import PairSampler
from data_prep.sampling.settings import PairSettings
from data_prep.sequence import PRESENT
from tests.dataset_miniature import VIDEOS
from tests.index_miniature import COMING, SEEN, index_of, video
from tests.test_reader_tnllt import write


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("Agg")
    for each in VIDEOS:
        write(tmp_path / "set", each)
    build_index(TNLLT, tmp_path / "set", "all", Path("outputs/indexes"), workers=1)
    return tmp_path


def test_the_command_writes_both_pictures(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("task=look", "data=[tnllt]", "split=all", "contract=short", "out=seen")
    assert run_command("data_prep", main, "", arguments) == 0
    assert "look: seen/samples.png and seen/plots.png" in capsys.readouterr().out
    for name in ("samples.png", "plots.png"):
        picture = np.array(Image.open(here / "seen" / name).convert("RGB"))
        assert picture.std() > 10, "something is drawn"
    sheet = np.array(Image.open(here / "seen" / "samples.png").convert("RGB")).astype(int)
    for colour in (BUILT_IN["short"].prompt_colour, (0, 0xE0, 0x70)):
        near = np.abs(sheet - colour).max(axis=2) < 40
        assert near.sum() > 200, "frames are grey: these are the rectangles, and the targets' boxes"


def test_a_pair_that_cannot_be_read_is_counted_and_the_others_are_shown(here: Path) -> None:
    plan = PairPlan((Path("outputs/indexes/tnllt-all.arrow"),), PairSettings(negative=0), seed=0)
    assert write_samples(here / "whole.png", plan, BUILT_IN["short"], 0) == 0
    for path in (here / "set" / "car-1" / "imgs").iterdir():
        path.write_bytes(b"")
    lost = sum(pair.sequence == "car-1" for pair in plan.sampler().pairs(range(16)))
    assert 0 < lost < 16 and write_samples(here / "part.png", plan, BUILT_IN["short"], 0) == lost


def test_what_is_plotted_is_what_the_index_holds(tmp_path: Path) -> None:
    videos = [video("a", SEEN, ["one two", "three"], seed=1), video("b", COMING, ["x y z"], seed=2)]
    index = index_of(tmp_path / "small.arrow", videos)
    sampler = PairSampler([index], PairSettings(gap=3), 0)
    (source,) = sampler.sources
    assert look._present_shares(index).tolist() == [1.0, 8 / 12]
    assert look._text_lengths(index) == [2, 1, 3]
    boxes = np.concatenate([each.truth.boxes_xywh[each.truth.present == PRESENT] for each in videos])
    assert look._box_sides(source) == pytest.approx(np.sqrt(boxes[:, 2] * boxes[:, 3] / (320 * 240)))
    gaps = look._gaps(sampler, source)
    assert {1, 2, 3} <= {abs(int(gap)) for gap in gaps} and (gaps < 0).any() and (gaps > 0).any()


@pytest.mark.parametrize("reach", [1, 29, 30, 200])
def test_bins_hold_equally_many_whole_numbers(reach: int) -> None:
    borders = look._whole_bins(reach)
    assert borders[0] < -reach and borders[-1] > reach and len(borders) <= 62
    counts = np.histogram(np.arange(int(borders[0]), int(borders[-1]) + 1), borders)[0]
    assert len(set(counts.tolist())) == 1
