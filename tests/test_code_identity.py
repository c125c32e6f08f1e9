"""What changes the identity of the code that results follow from, and what does not."""

from pathlib import Path

import pytest

from configs.code_identity import code_identity, hash_of_modules, modules_of
from infer.engine.session import REPORTS, code_modules
from infer.trackers.referral import ReferralConfig
from models.grounder.grounder import Grounder
from models.mask_head.sam2 import MaskHead

ENTRY = ("infer.start",)
SOURCES = {
    "infer/__init__.py": '"""Package."""\n',
    "infer/start.py": (
        '"""Start."""\nimport models.net as net\n\n\ndef run() -> int:\n'
        '    """Run."""\n    from data_prep import late\n\n    return net.N + late.N  # a sum\n'
    ),
    "infer/report.py": "print('told')\n",
    "infer/config.py": "THREADS = 1\n",
    "models/__init__.py": "",
    "models/net.py": "from infer.config import THREADS\nfrom .parts import N\n",
    "models/parts.py": 'N = 1\n"""How many."""\n',
    "data_prep/__init__.py": "",
    "data_prep/late.py": "N = 2\n",
    "data_prep/readers/new.py": "N = 3\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in SOURCES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def identity(root: Path) -> str:
    hash_of_modules.cache_clear()
    return code_identity(ENTRY, root=root)


def test_imports_are_followed_also_relative_ones_and_those_in_functions(root: Path) -> None:
    assert modules_of(ENTRY, root=root) == [
        "data_prep", "data_prep.late", "infer", "infer.start", "models", "models.net", "models.parts",
    ]  # fmt: skip
    assert "models.parts" not in modules_of(ENTRY, ("models.net",), root)


@pytest.mark.parametrize(
    "name", ["infer/start.py", "models/parts.py", "data_prep/late.py", "models/__init__.py"]
)
def test_other_code_is_another_identity(root: Path, name: str) -> None:
    before = identity(root)
    (root / name).write_text(SOURCES[name] + "M = 4\n")
    assert identity(root) != before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("infer/report.py", "print('told otherwise')\n"),
        ("infer/another.py", "import infer.start\n"),
        ("infer/config.py", "THREADS = 2\n"),
        ("data_prep/readers/new.py", "N = 5\n"),
        ("models/parts.py", '"""Parts."""\n\nN = (\n    1  # one\n)\n"""What there is."""\n'),
        ("infer/start.py", SOURCES["infer/start.py"].replace("Run.", "Run it.").replace("a sum", "b")),
    ],
)
def test_what_no_result_follows_from_is_the_same_identity(root: Path, name: str, text: str) -> None:
    before = identity(root)
    (root / name).write_text(text)
    assert identity(root) == before


def test_results_of_tracking_follow_from_models_and_tracker_and_not_from_reports() -> None:
    grounder, mask_head = Grounder.__new__(Grounder), MaskHead.__new__(MaskHead)
    modules = modules_of(code_modules(ReferralConfig(), grounder, mask_head), REPORTS)
    for name in (
        "infer.trackers.referral",
        "infer.trackers.requests",
        "infer.engine.engine",
        "models.grounder.grounder",
        "models.families.qwen3_vl",
        "models.kernels.qwen2_5_vl",
        "models.mask_head.sam2_forward",
        "data_prep.video.frames",
    ):
        assert name in modules
    for name in modules:
        assert not name.startswith(
            ("data_prep.readers", "infer.runs", "infer.render", "infer.trackers.per_frame", "evaluation")
        )
