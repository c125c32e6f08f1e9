"""The families of multimodal models that can be the grounder, one module each.

Every module of this package ends with `FAMILY = register_family(Family(...))` and is found by listing the
package, so a new family is one new file. A file elsewhere is registered when it is imported, which must
happen before the settings are composed (`plugins=[my_family.py]`). No module of this package imports torch or
transformers before a model is asked for, since settings and the checks of a checkpoint's folder are read from
here too.
"""

import importlib
import pkgutil

from models.families.family import (
    FAMILIES,
    PARTS,
    PUBLISHED_SIZES,
    Family,
    ModelPart,
    PublishedSize,
    family_of,
    lora_targets,
    part_of,
    register_family,
)

__all__ = [
    "FAMILIES",
    "PARTS",
    "PUBLISHED_SIZES",
    "Family",
    "ModelPart",
    "PublishedSize",
    "family_of",
    "lora_targets",
    "part_of",
    "register_family",
]

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_module.name)
