"""The names by which data sets are called everywhere. Imports nothing heavy."""

DATA_SETS = (
    "tnl2k",
    "tnllt",
    "lasot",
    "lasotext",
    "otb99",
    "got10k",
    "trackingnet",
    "vasttrack",
    "refcoco",
    "refcocoplus",
    "refcocog",
    "refytvos",
    "refdavis",
    "mevis",
    "sav",
    "votsr",
)
