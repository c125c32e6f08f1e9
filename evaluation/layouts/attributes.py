"""What the columns of a toolkit's `annos/att` mean, by how many there are.

From the toolkits' main scripts: https://github.com/HengLan/LaSOT_Evaluation_Toolkit (14),
https://github.com/Event-AHU/Open_VLTrack (15), https://github.com/wangxiao5791509/TNL2K_evaluation_toolkit
(17).
"""

LASOT = ("IV", "POC", "DEF", "MB", "CM", "ROT", "BC", "VC", "SV", "FOC", "FM", "OV", "LR", "ARC")
TNLLT = ("CM", "ROT", "DEF", "FOC", "IV", "OV", "POC", "VC", "SV", "BC", "MB", "ARC", "LR", "FM", "AS")
TNL2K = (*TNLLT, "TC", "MS")
NAMES = {
    "IV": "Illumination variation",
    "POC": "Partial occlusion",
    "DEF": "Deformation",
    "MB": "Motion blur",
    "CM": "Camera motion",
    "ROT": "Rotation",
    "BC": "Background clutter",
    "VC": "Viewpoint change",
    "SV": "Scale variation",
    "FOC": "Full occlusion",
    "FM": "Fast motion",
    "OV": "Out of view",
    "LR": "Low resolution",
    "ARC": "Aspect ratio change",
    "AS": "Adversarial samples",
    "TC": "Thermal crossover",
    "MS": "Modality switch",
}


def attribute_names(count: int) -> tuple[str, ...]:
    """The names of `count` columns; numbers where no known benchmark has so many."""
    known = {len(columns): columns for columns in (LASOT, TNLLT, TNL2K)}.get(count)
    if known is None:
        return tuple(f"attribute {number}" for number in range(1, count + 1))
    return tuple(NAMES[column] for column in known)
