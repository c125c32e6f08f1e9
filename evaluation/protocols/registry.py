"""The registry of evaluation protocols: which options `protocol=` has, and who scores by each of them.

A protocol is one file that ends with `register_protocol(MY_PROTOCOL)`. For a protocol over boxes that counts
like OTB's family of toolkits, `evaluation.boxes.protocol.ope_protocol` makes the object from a few rules:

    MY_PROTOCOL = ope_protocol("my_protocol", OpeRules(...), "How frames are counted.", "Where it is from.")

Any other object with the methods of `EvaluationProtocol` does as well. Files in `evaluation/protocols/` are
found by listing the package. A file elsewhere is registered when it is imported
(`plugins=[my_protocol.py]`). `--help` imports all files of this package, so they import OpenCV and torch
inside of functions only.
"""

from typing import Protocol, TypeVar

from configs.errors import UserError, did_you_mean
from configs.extensions import Registry
from evaluation.config import EvaluationSettings
from evaluation.scores import Evaluation, FrameSource


class EvaluationProtocol(Protocol):
    """A way of scoring trackers on a benchmark."""

    @property
    def name(self) -> str:
        """The option of `protocol=`."""
        ...

    def evaluate(self, settings: EvaluationSettings) -> Evaluation:
        """Score the trackers that the settings name, best first.

        Raises UserError, one line for each fault of the files.
        """
        ...

    def frame_source(self, settings: EvaluationSettings) -> FrameSource | None:
        """The frames of what was scored, for the pictures of the report; None where they are not known."""
        ...


ProtocolType = TypeVar("ProtocolType", bound=EvaluationProtocol)

PROTOCOLS: Registry[EvaluationProtocol] = Registry("protocol", __package__)
"""The registered protocols by name."""


def register_protocol(protocol: ProtocolType) -> ProtocolType:
    """Make a protocol an option of `protocol=`, and return it.

    Raises ValueError if another protocol has this name.
    """
    # A protocol is its own owner: those made by `ope_protocol` share the module of their functions.
    PROTOCOLS.register(protocol.name, protocol, protocol)
    return protocol


def protocol_names() -> tuple[str, ...]:
    """The options of `protocol=`, in alphabetical order."""
    PROTOCOLS.load_package()
    return tuple(sorted(PROTOCOLS))


def protocol_of(name: str) -> EvaluationProtocol:
    """The protocol of this name. Raises UserError where there is none."""
    names = protocol_names()
    if name not in PROTOCOLS:
        hint = did_you_mean(name, names)
        raise UserError(f"protocol={name}: must be one of {', '.join(names)}{hint}")
    return PROTOCOLS[name]
