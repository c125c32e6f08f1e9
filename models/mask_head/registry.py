"""The registry of mask heads: which options `mask_head=` has, and who loads the mask head of an option.

A mask head is one file. It defines a frozen dataclass of its settings, a subclass of
`models.mask_head.config.MaskHeadConfig`, and registers the function that loads it:

    @dataclass(frozen=True)
    class MyConfig(MaskHeadConfig):
        num_memories: int = key(7, "frames that the memory holds", minimum=1)

    @register_mask_head(my_mask_head=MyConfig(checkpoint="owner/name"))
    def load_my_mask_head(config: MyConfig, device: torch.device) -> Masking:
        ...

What the function returns has the methods of `models.interfaces.Masking` and needs no base class. The file is
registered when it is imported, which must happen before the settings are composed (`plugins=[my_head.py]`).
A mask head of this project is registered in `models/mask_head/config.py`, so that `--help` imports no torch.
Its function imports the module that does.
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable

from configs.errors import UserError
from configs.extensions import OptionRegistry
from models.interfaces import Masking
from models.mask_head.cropping import CroppingMaskHead
from models.mask_head.memory_policies.policy import MemoryPolicy
from models.mask_head.memory_policies.registry import KEY, PLAIN, memory_policy_of

Config = TypeVar("Config")


@runtime_checkable
class HasMemoryPolicy(Protocol):
    """A mask head whose memories follow a policy (`mask_head.memory`)."""

    memory_policy: MemoryPolicy


Loader = Callable[[Config, Any], Masking]  # the second argument is a torch.device

Check = Callable[[Any], None]

# Per class of settings: the function that loads the mask head, and the one that checks the settings or None.
# They are apart because the check runs before torch is imported.
MASK_HEADS: OptionRegistry[tuple[Loader[Any], Check | None]] = OptionRegistry("mask_head")
"""The settings of every registered mask head, by its option of `mask_head=`."""


def register_mask_head(
    check: Callable[[Config], None] | None = None, **options: Config
) -> Callable[[Loader[Config]], Loader[Config]]:
    """Register the decorated function as the one that loads the given options of `mask_head=`.

    `check(config)` raises UserError for what is wrong with the settings or the checkpoint's folder; it runs
    before torch is imported. Raises TypeError if the options are not objects of one dataclass, and ValueError
    if another class has registered an option of the same name.
    """

    def register(loader: Loader[Config]) -> Loader[Config]:
        MASK_HEADS.register_options((loader, check), options)
        return loader

    return register


def check_mask_head(config: Any) -> None:
    """Refuse what is wrong with a mask head's settings before any weight is loaded. Raises UserError."""
    _, check = MASK_HEADS.target_of(config)
    memory_policy_of(config)
    if check is not None:
        check(config)


def load_mask_head(config: Any, device: Any) -> Masking:
    """Load the mask head of these settings on a torch device, with its memory policy.

    If the settings say so, masks are made from crops. Raises UserError where the checkpoint
    cannot be loaded, where no mask head is registered for the class of the settings, and where the mask head
    has no memory policies.
    """
    loader, _ = MASK_HEADS.target_of(config)
    head = loader(config, device)
    policy = memory_policy_of(config)
    if policy.decides:
        if not isinstance(head, HasMemoryPolicy):
            raise UserError(f"{KEY}={policy.name}: this mask head has no memory policies; give {KEY}={PLAIN}")
        head.memory_policy = policy
    # Settings of a plugin need not be a `MaskHeadConfig`.
    crop = getattr(config, "crop", "none")
    return head if crop == "none" else CroppingMaskHead(head, crop)
