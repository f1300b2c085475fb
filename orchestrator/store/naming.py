"""Names of versions that nobody named."""

from datetime import datetime
from typing import Final

__all__ = ["made_version"]

_DIGITS: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: sorted, and no i, l, o, u to misread
_DAY_US: Final = 86_400_000_000


def made_version(now: datetime) -> str:
    """Such as `20261121-k3f9x2`: the day, and the time in it as six digits of base 32, in steps of 80 us.

    Sorted as text they are sorted by time.
    """
    clock_us = ((now.hour * 60 + now.minute) * 60 + now.second) * 1_000_000 + now.microsecond
    step = clock_us * 32**6 // _DAY_US
    return f"{now:%Y%m%d}-{''.join(_DIGITS[step >> shift & 31] for shift in range(25, -1, -5))}"
