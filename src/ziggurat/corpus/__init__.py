"""Data in: reading and recognising files, importing other formats, packing tokens into rows."""
