"""An index: what the annotations of a data set say, parsed once into one file that is mapped into memory."""
