"""Amounts of memory, as people write them."""

import re

from hydrarec.errors import InputError


def amount(memory: str, option: str) -> int:
    """Bytes of an amount of memory such as 4GB, 1.5 GiB or 800MB.

    Raises:
        InputError: it is none.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([KMGT])(i?)B?\s*", memory, re.IGNORECASE)
    if found is None or not float(found[1]):
        raise InputError(f"{option} {memory!r} is no amount of memory; write it like 4GB")
    power = "KMGT".index(found[2].upper()) + 1
    return round(float(found[1]) * float(1024 if found[3] else 1000) ** power)
