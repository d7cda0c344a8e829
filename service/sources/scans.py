"""How many scans the picture has that a JPEG file begins with: each costs its decoder a whole pass.

As libjpeg finds them, up to that picture's end: what comes after it, such as a phone's film or a
second view, may hold the same bytes by chance. Knows no pixels.
"""

from __future__ import annotations

import re

# Those with a length behind them, and the end. The others stand alone, between codes or in them.
_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")
_SCAN, _END = b"\xda", b"\xd9"
_START_BYTES = 2


def has_more_scans(data: bytes, most: int) -> bool:
    """Whether there are more than so many."""
    num_scans, at = 0, _START_BYTES
    while num_scans <= most and (marker := _MARKER.search(data, at)):
        if marker[1] == _END:
            break
        num_scans += marker[1] == _SCAN
        length = data[marker.end() : marker.end() + 2]  # its own two bytes are in it
        at = marker.end() + int.from_bytes(length, "big")
    return num_scans > most
