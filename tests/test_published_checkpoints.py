"""Small checkpoints with published layouts and vocabularies: loaded, asked, trained, saved and merged."""

import dataclasses
import json
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from configs.errors import UserError
from data_prep.contract.chat import messages
from data_prep.contract.contract import BUILT_IN, CONTRACT_FILE, read_contract
from data_prep.index.build import build_index
from data_prep.readers.tnllt import TNLLT
from data_prep.world.presets import PRESETS
from data_prep.world.render import render_workspace
from models.checkpoint_files import CONTRACTS_BY_TOKENS, added_tokens, find_contract
from models.config import GrounderConfig
from models.config_checks import sized_contract
from models.families import FAMILIES
from models.grounder.answer_tokens import MAX_BOX_TOKENS
from models.grounder.chat_template import render_chat
from models.grounder.grounder import Grounder
from models.interfaces import Answer, Question
from tests.objectives import cpu_strategy
from tests.published import PREPROCESSOR, PUBLISHED, SYSTEM, save_published, save_tokenizer
from tests.qwen_vocabulary import tokenizer_file
from tests.test_export import write_video
from tests.test_extending import run
from tests.test_sft import recipe_of
from tests.tiny_models import save_mask_head
from train.merging import merge
from train.sft.config import ContractSettings, TuneSettings
from train.sft.objective import sft_trainer

CPU = torch.device("cpu")
README = (Path(__file__).resolve().parent.parent / "README.md").read_text("utf-8")
NAMES = ["qwen2_5_vl", "qwen3_5", "vptracker"]  # VPTracker's is a Qwen3-VL with tokens of its own
OPENING = {"qwen3_5": "<think>\n\n</think>\n\n"}


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    """Equal tokenizers are read once: reading 250,000 tokens takes longer than all else here."""
    torch.set_num_threads(1)
    read, known = AutoTokenizer.from_pretrained, {}

    def read_once(source: str, **settings: Any) -> Any:
        files = [Path(source) / name for name in ("tokenizer.json", "tokenizer_config.json")]
        key = hash(tuple(path.read_bytes() for path in files if path.is_file()))
        return known[key] if key in known else known.setdefault(key, read(source, **settings))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AutoTokenizer, "from_pretrained", read_once)
        yield


# ---- vocabularies --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "tokens", "image_pad", "end"),
    [
        ("qwen2_5", 151_665, 151_655, 151_645),
        ("qwen3", 151_669, 151_655, 151_645),
        ("qwen3_5", 248_077, 248_056, 248_046),
    ],
)
def test_vocabularies_are_the_published_ones(name: str, tokens: int, image_pad: int, end: int) -> None:
    tokenizer = Tokenizer.from_file(str(tokenizer_file(name)))
    assert tokenizer.get_vocab_size() == tokens
    assert tokenizer.token_to_id("<|image_pad|>") == image_pad and tokenizer.token_to_id("<|im_end|>") == end
    # What the decision is read from, and what ends a box, are single tokens; so is each digit.
    for text in (" true", " false", "yes", "no", "[", "[]", "0", "9"):
        assert len(tokenizer.encode(text).ids) == 1, text
    assert tokenizer.encode("1234567890").ids == [tokenizer.token_to_id(digit) for digit in "1234567890"]
    text = '{"visible": true, "bbox_2d": [12, 345, 678, 910]}\n中文, naïve — 🙂 a\u0301é'
    assert tokenizer.decode(tokenizer.encode(text).ids) == tokenizer.normalizer.normalize_str(text)
    if name != "qwen3_5":
        assert tokenizer.encode(" true").ids + tokenizer.encode(" false").ids == [830, 895]


# ---- checkpoints ---------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_published(tmp_path_factory.mktemp("published") / "download", name)


@pytest.fixture(scope="module")
def grounder(folder: Path) -> Grounder:
    """The checkpoint as a user loads it, from the folder alone. No weight may be missing or unused."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        return Grounder.load(config_of(folder), CPU)


def config_of(folder: Path) -> GrounderConfig:
    """With search images of 24 tokens, which are answered faster."""
    return GrounderConfig(str(folder), dtype="float32", box_threshold=0.0, search_tokens=24)


def noise(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    """Questions of different lengths: with and without template and visual prompt, lying and standing."""
    lying, standing = noise(480, 270), noise(120, 200, 1)
    return [
        Question(lying, "the red cup"),
        Question(lying, "a person in a long blue coat who walks towards the station", noise(60, 60, 2)),
        Question(standing, "it", None, (10, 10, 40, 40)),
    ]


def test_the_files_are_those_of_a_download(name: str, folder: Path) -> None:
    published, files = PUBLISHED[name], {path.name for path in folder.iterdir()}
    assert CONTRACT_FILE not in files and "processor_config.json" not in files
    assert {"config.json", "tokenizer.json", "tokenizer_config.json", published.template_file} <= files
    if published.shards == 2:
        index = json.loads((folder / "model.safetensors.index.json").read_text())
        assert len(set(index["weight_map"].values())) == 2
    else:
        assert "model.safetensors" in files


def test_a_download_is_recognised(name: str, folder: Path, grounder: Grounder) -> None:
    published = PUBLISHED[name]
    family = FAMILIES[published.model_type]
    assert isinstance(grounder.model, family.model_class())
    named = name if name in CONTRACTS_BY_TOKENS else family.contract
    assert grounder.contract == sized_contract(config_of(folder), BUILT_IN[named])
    assert set(published.added_tokens) <= added_tokens(folder)
    ids = grounder.tokenizer.convert_tokens_to_ids(list(published.added_tokens))
    assert ids == list(range(151_669, 151_669 + len(ids)))


def test_the_tokenizer_splits_as_the_published_one(name: str, folder: Path, grounder: Grounder) -> None:
    """Transformers builds the tokenizers of these models anew, with the regular expression of their class."""
    text = "Locate ทั้งหมด, naïve 0123 'the' bóx"
    expected = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids
    assert grounder.tokenizer(text).input_ids == expected


def test_a_question_is_asked_in_the_published_chat(
    name: str, grounder: Grounder, questions: list[Question]
) -> None:
    family = PUBLISHED[name].model_type
    inputs = grounder.encoder.encode([questions[1]], "").inputs
    text = grounder.tokenizer.decode(inputs["input_ids"][0])
    assert text.startswith(f"{SYSTEM.get(family, '')}<|im_start|>user\n")
    opening = f"<|im_end|>\n<|im_start|>assistant\n{OPENING.get(family, '')}"
    assert text.endswith(opening + grounder.contract.format.start)
    # A white image, by the published means and deviations of each channel.
    white = dataclasses.replace(questions[0], image=np.full((100, 100, 3), 255, np.uint8))
    pixels = grounder.encoder.encode([white], "").inputs["pixel_values"][0].reshape(3, -1).mean(1)
    settings = PREPROCESSOR[family]
    means, deviations = (torch.tensor(settings[key]) for key in ("image_mean", "image_std"))
    torch.testing.assert_close(pixels, (1 - means) / deviations, atol=1e-4, rtol=0)


def check_same(first: Answer, second: Answer) -> None:
    assert first.visible == pytest.approx(second.visible, abs=1e-4)
    assert first.box_confidence == pytest.approx(second.box_confidence, abs=1e-3)
    assert (first.box_xyxy, first.text) == (second.box_xyxy, second.text)


def test_a_batch_is_answered_as_its_questions_alone(grounder: Grounder, questions: list[Question]) -> None:
    together = grounder.locate(questions)
    assert all(0 < answer.visible < 1 for answer in together)
    for question, answer in zip(questions, together, strict=True):
        check_same(answer, grounder.locate([question])[0])


@torch.no_grad()
def test_an_answer_is_that_of_transformers_generate(grounder: Grounder, questions: list[Question]) -> None:
    processor, answers = grounder.encoder.processor, grounder.contract.format
    for question, answer in zip(questions, grounder.locate(questions), strict=True):
        has = (question.template is not None, question.visual_prompt_xyxy is not None)
        chat = messages(grounder.contract, question.expression, *has)
        text = render_chat(processor, chat) + answers.start + answers.forced_prefix
        images = grounder.encoder.images(question)
        inputs = processor(text=[text], images=images, do_resize=False, return_tensors="pt")
        # The published generation_config.json samples, and penalises repeated tokens.
        greedy = {"do_sample": False, "repetition_penalty": 1.0, "max_new_tokens": MAX_BOX_TOKENS}
        tokens = grounder.model.generate(**inputs, **greedy)[0, inputs["input_ids"].shape[1] :].tolist()
        texts = [grounder.tokenizer.decode([token]) for token in tokens]
        length = next((i for i, text in enumerate(texts) if answers.closing in text), len(texts))
        assert answer.text.startswith(grounder.tokenizer.decode(tokens[:length]))


@pytest.mark.parametrize("name", ["vptracker"], indirect=True)  # the others have no download of this kind
def test_a_plain_download_is_known_and_a_thinking_one_refused_before_its_weights_are_read(
    folder: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 1. Qwen3-VL as published: VPTracker's download with another tokenizer.
    tokenizer_files = ("tokenizer.json", "tokenizer_config.json", PUBLISHED[name].template_file)
    download, folder = folder, tmp_path
    for path in download.iterdir():
        if path.name not in tokenizer_files:
            (folder / path.name).symlink_to(path)
    save_tokenizer(folder, PUBLISHED["qwen3_vl"])
    assert find_contract(GrounderConfig(str(folder))) == BUILT_IN["qwen3"]
    assert find_contract(GrounderConfig(str(folder)), opens_thought=True) == BUILT_IN["qwen3_thinking"]
    # 2. The same with the chat template of a thinking model.
    save_tokenizer(folder, PUBLISHED["qwen3_vl_thinking"])
    monkeypatch.setattr(FAMILIES["qwen3_vl"].model_class(), "from_pretrained", None)  # fails if it is called
    with pytest.raises(UserError, match=r"opens a thought \(<think>\).*-Instruct") as refusal:
        Grounder.load(GrounderConfig(str(folder), contract="qwen3"), CPU)
    assert "\n" not in str(refusal.value) and str(folder) in str(refusal.value)


# ---- inference -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a workspace of one sequence, and a mask head."""
    root = tmp_path_factory.mktemp("inputs")
    render_workspace(root / "workspace", PRESETS["demo"], 1, 1, 1)
    save_mask_head(root / "mask_head")
    return root


# R1-Track's checkpoints have the files of Qwen2.5-VL, so their contract must be named.
@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("qwen2_5_vl", ""),
        ("qwen2_5_vl", "model.contract=r1_track"),
        ("qwen3_vl", ""),
        ("qwen3_5", ""),
        ("vptracker", ""),
    ],
    indirect=["name"],
)
def test_the_readmes_command_for_local_folders_runs(
    folder: Path, name: str, keys: str, inputs: Path, tmp_path: Path
) -> None:
    # 1. The command as it is printed.
    block = re.search(r"```bash\n(.*?)```", README.split("## Large models")[1], re.DOTALL)
    assert block is not None
    lines = block[1].replace("\\\n", " ").splitlines()
    (line,) = (line.partition("#")[0] for line in lines if "without a network" in line)
    # 2. Names of this test in place of those in capitals.
    shutil.copytree(inputs / "workspace", tmp_path / "workspace")
    line = (
        line.replace("PATH", "workspace")
        .replace("NAME", "Mine")
        .replace("qwen2_5_vl_7b", PUBLISHED[name].size)
    )
    for checkpoint in (folder, inputs / "mask_head"):
        line = line.replace("FOLDER", str(checkpoint), 1)
    sizes = "" if "r1_track" in keys else "model.search_tokens=24"  # R1-Track takes crops of one size alone
    run(f"{line} {keys} {sizes} device=cpu overlay=false pack=false", tmp_path)
    # 3. A line for each frame of every expression.
    results = sorted((tmp_path / "workspace" / "results" / "Mine" / "baseline").glob("*/*.txt"))
    assert results and all(len(path.read_text().splitlines()) == 1 for path in results)


# ---- training ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set with its index."""
    root = tmp_path_factory.mktemp("data")
    write_video(root / "data", "wide", (192, 108))
    build_index(TNLLT, root / "data", "all", root, workers=1)
    return root


# Other tests train small models of Qwen2.5-VL in every way.
@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl", "qwen3_5", "vptracker"], indirect=True)
@pytest.mark.usefixtures("without_plots")
def test_a_download_is_trained_saved_merged_and_loaded(
    grounder: Grounder,
    folder: Path,
    name: str,
    data: Path,
    tmp_path: Path,
    questions: list[Question],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # 1. A step with LoRA, from the loaded download.
    monkeypatch.setattr("train.sft.model.Grounder.load", lambda *_: grounder)
    changes: dict[str, Any] = {
        "tune": TuneSettings(rank=2),
        "contract": ContractSettings(search_tokens=24, template_tokens=4),
        "pairs": 2,
        "batch": 2,
        "evaluate": [],
    }
    model = GrounderConfig(str(folder), dtype="float32")
    run = sft_trainer(recipe_of(data, **changes), model, tmp_path / "run", cpu_strategy())
    run.run()
    monkeypatch.undo()
    # Layers that carry a state from token to token cannot take several samples in a row.
    assert run.objective.model.packed == (PUBLISHED[name].model_type != "qwen3_5")
    trained, adapters = run.objective.grounder, tmp_path / "run" / "final"
    trained.model.eval()
    expected = trained.locate(questions)
    # 2. The adapters, merged into the download in its own dtype.
    merge(GrounderConfig(str(adapters)), tmp_path / "merged", CPU)
    merged = GrounderConfig(str(tmp_path / "merged"), dtype="float32", box_threshold=0.0)
    loaded = Grounder.load(merged, CPU)
    assert loaded.contract == trained.contract == read_contract(adapters)
    for mine, theirs in zip(loaded.locate(questions), expected, strict=True):
        assert mine.visible == pytest.approx(theirs.visible, abs=5e-3)
    # 3. Folders that lost their contract are asked as the download is.
    for checkpoint in (adapters, tmp_path / "merged"):
        (checkpoint / CONTRACT_FILE).unlink()
        assert find_contract(GrounderConfig(str(checkpoint))) == find_contract(model)
    shutil.rmtree(tmp_path)
