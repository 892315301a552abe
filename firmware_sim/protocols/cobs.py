"""COBS frames around packed records, after Cheshire & Baker, "Consistent Overhead Byte Stuffing" (1999).

    COBS( record | CRC-16, high byte first ) 00

The stuffing is done as the paper does it, with a place kept for each count that is filled in once it is known; the CRC
by shifting bits: polynomial 0x1021, from 0xFFFF, high bit first (CRC-16/CCITT-FALSE, check value 0x29B1).
"""

POLYNOMIAL = 0x1021
MOST = 0xFF


def crc16(data: bytes) -> int:
    """Return the CRC-16/CCITT-FALSE."""
    register = 0xFFFF
    for byte in data:
        register ^= byte << 8
        for _ in range(8):
            carry = register & 0x8000
            register = (register << 1) & 0xFFFF
            if carry:
                register ^= POLYNOMIAL
    return register


def stuff(data: bytes) -> bytes:
    """Return the data without zeros in it; the zero that ends a frame is not yet there."""
    out = bytearray([0])
    place, count = 0, 1
    for index, byte in enumerate(data):
        if byte:
            out.append(byte)
            count += 1
        if not byte or (count == MOST and index + 1 < len(data)):
            out[place] = count
            place, count = len(out), 1
            out.append(0)
    out[place] = count
    return bytes(out)


def frame(record: bytes) -> bytes:
    """Return a whole frame of a record, with CRC and end."""
    return stuff(record + crc16(record).to_bytes(2, "big")) + b"\0"
