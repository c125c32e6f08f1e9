"""What fine-tuning changes of a grounder beside its weights: tokens, contract, and how weights are held."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BitsAndBytesConfig

from configs.errors import UserError
from data_prep.contract.chat import messages
from data_prep.contract.contract import BUILT_IN
from data_prep.contract.wordings import VPTRACKER_TOKENS
from data_prep.index.build import build_index, index_path
from data_prep.readers.tnllt import TNLLT
from data_prep.sampling.lines import PairPlan
from data_prep.sampling.settings import PairSettings
from models.config import GrounderConfig
from models.families import FAMILIES
from models.grounder import loading
from models.grounder.grounder import Grounder
from models.kernels.attention import use_packed_attention
from tests.objectives import cpu_strategy
from tests.test_export import write_video
from tests.test_sft import CPU, recipe_of
from tests.tiny_models import save_grounder
from train.loop.trainer import Trainer
from train.merging import merge
from train.pairs import PairQuestions
from train.sft import model as model_module
from train.sft.batches import collate
from train.sft.config import ContractSettings, SftRecipe, TuneSettings
from train.sft.model import GrounderForTraining, check_model, load_for_training, updated_contract
from train.sft.objective import SftObjective, sft_trainer

pytestmark = pytest.mark.usefixtures("without_plots")

TAGGED = ContractSettings(wording="tagged", search_tokens=24, template_tokens=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set with its index, and a tiny grounder of each family."""
    root = tmp_path_factory.mktemp("teaching")
    write_video(root / "data", "wide", (192, 108))
    build_index(TNLLT, root / "data", "all", root, workers=1)
    for family in FAMILIES:
        save_grounder(root / family, family=family)
    (root / "model").symlink_to(root / "qwen2_5_vl")
    return root


def training(folder: Path, out: Path, family: str = "qwen2_5_vl", **changes: Any) -> Trainer[SftObjective]:
    model = GrounderConfig(str(folder / family), dtype="float32")
    return sft_trainer(recipe_of(folder, **{"pairs": 8, **changes}), model, out, cpu_strategy())


def asked(folder: Path, grounder: Grounder) -> list[Any]:
    plan = PairPlan((index_path(folder, "tnllt", "all"),), PairSettings(), seed=5)
    source = PairQuestions(plan, grounder.contract)
    return grounder.locate([source[number].question for number in range(4)])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["lora", "full"])
def test_new_tokens_learn_and_are_there_again_after_loading(
    folder: Path, tmp_path: Path, family: str, method: str
) -> None:
    tune = TuneSettings(method=method, rank=2, tokens=list(VPTRACKER_TOKENS))
    run = training(folder, tmp_path, family, tune=tune, contract=TAGGED)
    tokenizer = run.objective.grounder.tokenizer
    ids = tokenizer.convert_tokens_to_ids(list(VPTRACKER_TOKENS))
    assert len(set(ids)) == len(VPTRACKER_TOKENS) and min(ids) == len(tokenizer) - len(VPTRACKER_TOKENS)
    embed, every_token = run.objective.grounder.model.get_input_embeddings(), torch.arange(len(tokenizer))
    before = embed(every_token).detach().clone()
    run.run()
    after = embed(every_token).detach()
    moved = (after != before).any(1)
    assert moved[ids].all()
    if method == "lora":
        assert int(moved.sum()) == len(VPTRACKER_TOKENS)  # and no other row
    loaded = Grounder.load(GrounderConfig(str(tmp_path / "final"), dtype="float32"), CPU)
    assert loaded.contract == run.objective.grounder.contract and loaded.contract.wording == "tagged"
    assert loaded.tokenizer.convert_tokens_to_ids(list(VPTRACKER_TOKENS)) == ids
    torch.testing.assert_close(loaded.model.get_input_embeddings().weight[ids], after[ids])
    with torch.inference_mode():
        run.objective.grounder.model.eval()
        for mine, theirs in zip(asked(folder, run.objective.grounder), asked(folder, loaded), strict=True):
            assert mine.visible == pytest.approx(theirs.visible, abs=1e-4)


def test_a_run_with_new_tokens_goes_on_as_an_unbroken_one(folder: Path, tmp_path: Path) -> None:
    changes = {"tune": TuneSettings(rank=2, tokens=["<ref>", "</ref>"]), "contract": TAGGED, "pairs": 16}
    whole = training(folder, tmp_path / "whole", **changes)
    whole.run()
    training(folder, tmp_path / "broken", **changes).run(stop_after=2)
    again = training(folder, tmp_path / "broken", **changes)
    again.run()
    assert any("token" in name for name in whole.strategy.parameters)
    assert all(
        torch.equal(weight, again.strategy.parameters[name])
        for name, weight in whole.strategy.parameters.items()
    )


def test_the_tokens_of_words_are_refused_and_those_of_the_question_are_one_token_each(folder: Path) -> None:
    recipe = SftRecipe(tune=TuneSettings(tokens=list(VPTRACKER_TOKENS)), contract=TAGGED)
    grounder, ids = load_for_training(recipe, GrounderConfig(str(folder / "qwen2_5_vl")), CPU)
    plan = PairPlan((index_path(folder, "tnllt", "all"),), PairSettings(), seed=5)
    question = PairQuestions(plan, grounder.contract)[0].question
    read = grounder.encoder.encode([question], "").inputs["input_ids"][0].tolist()
    assert [read.count(token) for token in ids] == [1] * len(ids)
    with pytest.raises(UserError, match="prompt 'a <ref> b': <ref> steers the model"):
        grounder.encoder.encode([dataclasses.replace(question, expression="a <ref> b")], "")


@pytest.mark.parametrize(
    ("tune", "contract", "said"),
    [
        (TuneSettings(tokens=["<ref>"]), ContractSettings(), "<ref> is in no question of wording=short"),
        (TuneSettings(tokens=["a b"]), TAGGED, "is in no question"),
        (
            TuneSettings(tokens=["<ref>"], method="full", parts=["projector"]),
            TAGGED,
            "add language_model to recipe.tune.parts",
        ),
        (TuneSettings(), ContractSettings(prompt_colour="reddish"), "recipe.contract.prompt_colour=reddish"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    folder: Path, tune: TuneSettings, contract: ContractSettings, said: str
) -> None:
    with pytest.raises(UserError, match=said) as fault:
        load_for_training(
            SftRecipe(tune=tune, contract=contract), GrounderConfig(str(folder / "qwen2_5_vl")), CPU
        )
    assert "\n" not in str(fault.value)


def test_a_contract_changes_in_what_is_taught_anew_alone() -> None:
    short = BUILT_IN["short"]
    assert updated_contract(short, ContractSettings()) == short
    assert updated_contract(short, ContractSettings(coordinates="thousand", digits=0, prompt_scale=4.0)) == (
        dataclasses.replace(short, coordinates="thousand", digits=0, prompt_scale=4.0)
    )
    found = updated_contract(
        short, ContractSettings(search_tokens=50, template_tokens=9, prompt_colour="lime")
    )
    assert (found.max_pixels, found.min_pixels, found.search_size) == (50 * 784, 50 * 784, (0, 0))
    assert (found.template_pixels, found.prompt_colour) == (9 * 784, (0, 255, 0))


def test_every_token_stands_in_the_tagged_question() -> None:
    contract = dataclasses.replace(BUILT_IN["instruct3"], wording="tagged")
    (chat,) = messages(contract, "a cup", has_template=True, is_marked=True)
    texts = [part.get("text", "|") for part in chat["content"]]
    assert all("".join(texts).count(token) == 1 for token in VPTRACKER_TOKENS)
    assert "<template>|</template>" in "".join(texts) and "<search>|</search>" in "".join(texts)


def test_a_packed_row_of_qwen3_has_the_loss_of_its_samples(folder: Path) -> None:
    grounder = Grounder.load(GrounderConfig(str(folder / "qwen3_vl"), dtype="float32"), CPU)
    plan = PairPlan((index_path(folder, "tnllt", "all"),), PairSettings(), seed=5)
    source = PairQuestions(plan, grounder.contract)
    batch = collate(grounder.encoder, [source[number] for number in range(4)])
    padded = GrounderForTraining(grounder.model, packed=False, trains_vision=False)(batch)
    use_packed_attention(grounder.model)
    packed = GrounderForTraining(grounder.model, packed=True, trains_vision=False)(batch)
    torch.testing.assert_close(packed, padded, rtol=1e-5, atol=1e-4)


def test_adapters_on_adapters_are_sent_to_be_merged(folder: Path, tmp_path: Path) -> None:
    training(folder, tmp_path, pairs=4).run()
    config = GrounderConfig(str(tmp_path / "final"))
    with pytest.raises(UserError, match=r"python -m train task=merge model.checkpoint="):
        load_for_training(SftRecipe(), config, CPU)
    load_for_training(SftRecipe(tune=TuneSettings(method="full")), config, CPU)


def test_keys_of_inference_are_refused(folder: Path, tmp_path: Path) -> None:
    sized = GrounderConfig(str(folder / "qwen2_5_vl"), search_tokens=5)
    with pytest.raises(UserError, match=r"has recipe.contract.search_tokens"):
        check_model(SftRecipe(), sized)
    with pytest.raises(UserError, match=r"model.search_tokens=5: has an effect in inference only"):
        merge(sized, tmp_path, CPU)
    eager = GrounderConfig(str(folder / "qwen2_5_vl"), attention="eager")
    with pytest.raises(UserError, match=r"model.attention=eager: recipe.packing=true has its own attention"):
        check_model(SftRecipe(packing=True), eager)
    check_model(SftRecipe(packing=False), eager)


def test_qlora_without_bitsandbytes_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install bitsandbytes"):
        load_for_training(
            SftRecipe(tune=TuneSettings(method="qlora")), GrounderConfig(str(folder / "qwen2_5_vl")), CPU
        )


def test_qlora_holds_weights_in_four_bits_and_trains_adapters(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quantized load is a stand-in here: it is asked for as it should be, and all behind it is real."""
    asked_for: list[BitsAndBytesConfig] = []
    load = Grounder.load

    def stand_in(config: GrounderConfig, device: torch.device, quantization: BitsAndBytesConfig) -> Grounder:
        asked_for.append(quantization)
        return load(config, device)

    made = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    monkeypatch.setattr(model_module, "check_bitsandbytes", lambda setting, instead: None)
    monkeypatch.setattr(model_module, "four_bit", lambda dtype: made)
    monkeypatch.setattr(model_module.Grounder, "load", stand_in)
    run = training(folder, tmp_path, tune=TuneSettings(method="qlora", rank=2))
    assert asked_for == [made] and run.objective.adapters is not None
    assert run.run()
    monkeypatch.undo()
    assert Grounder.load(GrounderConfig(str(tmp_path / "final")), CPU).contract == BUILT_IN["short"]


def test_four_bits_are_nf4_and_spare_what_sees_and_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "find_spec", lambda name: object())
    monkeypatch.setattr(BitsAndBytesConfig, "post_init", lambda self: None)
    config = loading.four_bit(torch.bfloat16)
    assert (config.load_in_4bit, config.bnb_4bit_quant_type) == (True, "nf4")
    assert config.bnb_4bit_compute_dtype == torch.bfloat16 and "model.visual" in config.llm_int8_skip_modules
