"""Fused LoRA layers give what peft's own give; Liger's kernels are asked for only where they can work."""

import copy
import importlib
import sys
import types
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora.layer import Linear
from torch import nn

from models.grounder.nano import build_grounder, build_processor
from models.kernels import fused
from models.kernels.fused import FusedLoraLinear, apply_fused_lora

ROWS = torch.randn(2, 7, 6, generator=torch.Generator().manual_seed(0))


def adapted(**changes: Any) -> PeftModel:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5, bias=False))
    wrapped = get_peft_model(model, LoraConfig(r=3, lora_alpha=9, target_modules=["0", "2"], **changes))
    for name, weight in wrapped.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight)  # they begin at zero, where the scale would not show
    return wrapped


def both(**changes: Any) -> tuple[PeftModel, PeftModel]:
    plain = adapted(**changes)
    fast = copy.deepcopy(plain)
    apply_fused_lora(fast)
    return fast, plain


def test_outputs_and_gradients_are_pefts() -> None:
    fast, plain = both()
    assert sum(isinstance(module, FusedLoraLinear) for module in fast.modules()) == 2
    rows = [ROWS.clone().requires_grad_() for _ in range(2)]
    outputs = [model(each) for model, each in zip((fast, plain), rows, strict=True)]
    torch.testing.assert_close(*outputs)
    for output in outputs:
        output.square().sum().backward()
    torch.testing.assert_close(rows[0].grad, rows[1].grad)
    for mine, other in zip(fast.parameters(), plain.parameters(), strict=True):
        assert (mine.grad is None) == (other.grad is None)
        if mine.grad is not None:
            torch.testing.assert_close(mine.grad, other.grad)


def test_dropout_is_pefts() -> None:
    fast, plain = both(lora_dropout=0.5)
    outputs = []
    for model in (fast, plain):
        torch.manual_seed(1)
        outputs.append(model.train()(ROWS))
    torch.testing.assert_close(*outputs)
    assert not torch.allclose(outputs[0], fast.eval()(ROWS))


def test_bfloat16_weights_with_float32_adapters_work_under_autocast() -> None:
    fast, plain = both()
    for model in (fast, plain):
        for module in model.modules():
            if isinstance(module, Linear):
                module.base_layer.to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = [model(ROWS.bfloat16()) for model in (fast, plain)]
    assert outputs[0].dtype == outputs[1].dtype
    torch.testing.assert_close(*outputs, rtol=3e-2, atol=3e-2)


def test_maps_of_one_input_keep_it_once_under_autocast() -> None:
    """Copies of it were a sixth of what a step keeps for its backward pass."""
    fast, _ = both()
    rows, kept = ROWS.bfloat16().requires_grad_(), []
    (first, _) = (module.bfloat16() for module in fast.modules() if isinstance(module, FusedLoraLinear))
    for adapter in (first.lora_A, first.lora_B):
        adapter.float()

    def noted(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    keeping = torch.autograd.graph.saved_tensors_hooks(noted, lambda tensor: tensor)
    with keeping, torch.autocast("cpu", torch.bfloat16):
        first(rows)
    inputs = [tensor for tensor in kept if tensor.numel() == rows.numel()]
    assert inputs and {tensor.data_ptr() for tensor in inputs} == {rows.data_ptr()}


@pytest.mark.parametrize("changes", [{"use_dora": True}, {"lora_bias": True}])
def test_other_adapters_stay_pefts(changes: dict[str, object]) -> None:
    fast, plain = both(**changes)
    torch.testing.assert_close(fast(ROWS), plain(ROWS))


def test_weights_in_pieces_are_left_to_their_modules() -> None:
    fast, plain = both()
    called: list[int] = []
    for module in fast.modules():
        if isinstance(module, FusedLoraLinear):
            module.lora_B["default"].weight.ds_id = 1
            module.lora_B["default"].register_forward_hook(lambda *_: called.append(1))
    torch.testing.assert_close(fast(ROWS), plain(ROWS))
    assert len(called) == 2


def test_adapters_can_be_switched_off_merged_and_saved() -> None:
    fast, plain = both()
    with fast.disable_adapter(), plain.disable_adapter():
        torch.testing.assert_close(fast(ROWS), plain(ROWS))
    assert fast.state_dict().keys() == plain.state_dict().keys()
    before = fast(ROWS)
    torch.testing.assert_close(fast.merge_and_unload()(ROWS), before, rtol=1e-4, atol=1e-5)


# ---- Liger-Kernel ----------------------------------------------------------------------------------


def test_kernels_are_taken_on_a_gpu_where_they_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(fused, "apply_liger_kernel", lambda *given: asked.append(given))
    model: Any = object()
    for installed, device, wanted in ((True, "cuda", True), (True, "cpu", False), (False, "cuda", False)):
        monkeypatch.setattr(fused, "is_liger_kernel_available", lambda installed=installed: installed)
        assert fused.apply_liger(model, torch.device(device)) == wanted
    assert asked == [(model, fused.LIGER_KERNELS)]


def test_the_package_is_told_to_leave_the_loss_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As transformers passes it on to the package's own entry point."""
    told: dict[str, Any] = {}
    package, inner = types.ModuleType("liger_kernel"), types.ModuleType("liger_kernel.transformers")
    vars(inner)["_apply_liger_kernel_to_instance"] = lambda model, **kernels: told.update(kernels)
    monkeypatch.setitem(sys.modules, "liger_kernel", package)
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers", inner)
    integration = importlib.import_module("transformers.integrations.liger")
    for module in (fused, integration):
        monkeypatch.setattr(module, "is_liger_kernel_available", lambda: True)
    assert fused.apply_liger(
        build_grounder(build_processor(), width=32, layers=1, vision_layers=1), torch.device("cuda")
    )
    assert told["rms_norm"] and not told["cross_entropy"] and not told["fused_linear_cross_entropy"]
