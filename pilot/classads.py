"""The ClassAds that HTCondor leaves beside a job: one `Attribute = expression` a line. Pure.

Nothing is evaluated but literals and products of whole numbers, such as `10 * 60`. Source: HTCondor
manual, "ClassAd Mechanism", old syntax.
"""

import re
from typing import Dict, Mapping, Optional

LINES_MAX = 5000
_LINE = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_.]*)\s*=\s*(.*?)\s*\Z")
_PRODUCT = re.compile(r"\d{1,18}(?:\s*\*\s*\d{1,18})*\Z")
_REAL = re.compile(r"\d{1,18}\.\d{1,18}(?:[eE][+-]?\d{1,2})?\Z")


def parse(text: str) -> Dict[str, str]:
    """Expressions by attribute; attributes are in small letters, as they know no case."""
    found: Dict[str, str] = {}
    for line in text.split("\n")[:LINES_MAX]:
        match = _LINE.match(line)
        if match:
            found[match.group(1).lower()] = match.group(2)
    return found


def number(ad: Mapping[str, str], *attributes: str) -> Optional[float]:
    """The first of these attributes that is a number without sign; None if none is."""
    for attribute in attributes:
        text = ad.get(attribute.lower(), "")
        if _REAL.match(text):
            return float(text)
        if _PRODUCT.match(text):
            product = 1
            for factor in text.split("*"):
                product *= int(factor)
            return float(product)
    return None


def string(ad: Mapping[str, str], attribute: str) -> str:
    """What stands in the quotes; "" for everything else."""
    text = ad.get(attribute.lower(), "")
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] == '"' else ""
