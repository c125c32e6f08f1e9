"""All readers by the names that commands give them."""

from configs.errors import UserError
from data_prep.readers.concise import GOT10K_CONCISE, LASOT_CONCISE, TNL2K_CONCISE
from data_prep.readers.got10k import GOT10K
from data_prep.readers.lasot import LASOT, LASOTEXT
from data_prep.readers.mevis import MEVIS
from data_prep.readers.otb99 import OTB99
from data_prep.readers.reader import Reader
from data_prep.readers.refcoco import REFCOCO, REFCOCOG, REFCOCOPLUS
from data_prep.readers.refdavis import REFDAVIS
from data_prep.readers.refytvos import REFYTVOS
from data_prep.readers.sav import SAV
from data_prep.readers.tnl2k import TNL2K
from data_prep.readers.tnllt import TNLLT
from data_prep.readers.trackingnet import TRACKINGNET
from data_prep.readers.vasttrack import VASTTRACK
from data_prep.readers.votsr import VOTSR

_ALL = (
    TNL2K,
    TNLLT,
    LASOT,
    LASOTEXT,
    OTB99,
    GOT10K,
    TRACKINGNET,
    VASTTRACK,
    REFCOCO,
    REFCOCOPLUS,
    REFCOCOG,
    REFYTVOS,
    REFDAVIS,
    MEVIS,
    SAV,
    VOTSR,
    LASOT_CONCISE,
    TNL2K_CONCISE,
    GOT10K_CONCISE,
)
READERS: dict[str, Reader] = {reader.name: reader for reader in _ALL}


def reader_of(name: str, split: str) -> Reader:
    """The reader of a data set. Raises UserError where the data set has no such split."""
    reader = READERS[name]
    if split not in reader.splits:
        raise UserError(f"split={split}: {name} has {', '.join(reader.splits)}")
    return reader
