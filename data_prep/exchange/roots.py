"""Where the pictures of ReasoningTrack's records lie: what its script `transforme_json` does, by data set.

Published paths begin with a stand-in for the folder in which each data set's samples were unpacked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from configs.errors import UserError, did_you_mean
from data_prep.files import inside

STAND_IN = "/your_root_path/"
DATA_OF = {
    "GOT-10k_RLsamples": "got10k",
    "sampled_data_fromLaSOT": "lasot",
    "OTB_RLsamples": "otb99",
    "RLsampled_data_fromTNL2k": "tnl2k",
    "sampled_data2": "tnllt",
}
"""Data sets by the folder of their samples."""


def data_of(folder: str) -> str:
    """The name of a data set by the folder of its samples; of another folder, the folder's own."""
    return DATA_OF.get(folder, folder)


@dataclass(frozen=True)
class Roots:
    """By data set, what stands in place of the stand-in. Paths that do not begin with it stay as they are."""

    folders: Mapping[str, str]

    def path(self, image: str) -> str:
        """The path of a picture; raises UserError for one that would leave its root."""
        rest = image.removeprefix(STAND_IN)
        root = self.folders.get(data_of(rest.split("/")[0]), "")
        if rest == image or not root:
            return image
        return str(inside(Path(root), rest))

    def check(self, found: set[str]) -> None:
        """Raise UserError for a name that is neither among those `found` nor known at all."""
        for name in self.folders:
            if name not in found and name not in DATA_OF.values():
                known = sorted(found | set(DATA_OF.values()))
                raise UserError(f"root_map: no data set is named {name}{did_you_mean(name, known)}")
