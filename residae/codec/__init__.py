"""The codec: latents to `.rae` files and back, in NumPy alone.

rae.py        the container: header, lengths, checksum
quantizer.py  latents to symbols, by gains and means
tables.py     the integer tables that a checkpoint brings
context.py    what each symbol is predicted from; defines the coded stream
coder.py      the range coder around it
codec.py      all of it in two calls, `compress` and `decompress`
"""

from residae.codec.codec import Codec, Compressed, Decompressed
from residae.codec.quantizer import Latent
from residae.codec.rae import FileInfo, read_info
from residae.codec.tables import PLANES, Symbols, Tables

__all__ = ["PLANES", "Codec", "Compressed", "Decompressed", "FileInfo", "Latent", "Symbols", "Tables", "read_info"]
