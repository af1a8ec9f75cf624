"""How large a picture may be, whether it comes as a picture file or as a compressed one."""

MAX_PIXELS = 64 * 10**6
MAX_SIDE = 65_500
