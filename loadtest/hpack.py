"""Of header compression (RFC 7541) only this: literals out, and `grpc-status` in."""

UNKNOWN = 2
"""gRPC's own code for what cannot be told."""

_CODES = {
    "-": "010110", "a": "00011", "c": "00100", "g": "100110", "p": "101011", "r": "101100", "s": "01000",
    "t": "01001", "u": "101101", "0": "00000", "1": "00001", "2": "00010", "3": "011001", "4": "011010",
    "5": "011011", "6": "011100", "7": "011101", "8": "011110", "9": "011111",
}  # fmt: skip
"""The Huffman codes of RFC 7541, appendix B, for the characters of the header and its values."""


def literal(text: str) -> bytes:
    """A string as it is, up to 126 bytes."""
    encoded = text.encode("ascii")
    assert len(encoded) < 127
    return bytes([len(encoded)]) + encoded


def huffman(text: str) -> bytes:
    """A string in Huffman codes, filled up with ones."""
    bits = "".join(_CODES[character] for character in text)
    bits += "1" * (-len(bits) % 8)
    coded = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return bytes([0x80 | len(coded)]) + coded


_NAMES = (literal("grpc-status"), huffman("grpc-status"))
_VALUES = {encode(str(code)): code for encode in (literal, huffman) for code in range(17)}


def status_of(block: bytes) -> int:
    """The gRPC status in a block of headers that refers to no table; `UNKNOWN` if there is none."""
    for name in _NAMES:
        at = block.find(name)
        if at >= 0:
            start = at + len(name)
            size = block[start] & 0x7F
            return _VALUES.get(block[start : start + 1 + size], UNKNOWN)
    return UNKNOWN
