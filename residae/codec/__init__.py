"""The codec: latents to `.rae` files and back, in NumPy alone.

rae.py        the container: header, lengths, checksum
quantizer.py  scalar quantization of a latent, with a mean and a gain for each channel
tables.py     the codec's integer tables, which are part of a checkpoint
context.py    the context model; defines the coded stream
coder.py      entropy coding of a plane with the range coder of `constriction`
codec.py      all of it in two calls, `compress` and `decompress`
"""

from residae.arrays import Latent
from residae.codec.codec import Codec, Compressed, Decompressed
from residae.codec.rae import SCALE_BYTES, FileInfo, read_info
from residae.codec.tables import PLANES, Symbols, Tables

__all__ = [
    "PLANES",
    "SCALE_BYTES",
    "Codec",
    "Compressed",
    "Decompressed",
    "FileInfo",
    "Latent",
    "Symbols",
    "Tables",
    "read_info",
]
