"""How the data set's numbers and names become ids that the service accepts: `[A-Za-z0-9._:@/+=-]`."""

from __future__ import annotations

import re

import pandas as pd

_REFUSED = re.compile(r"[^a-z0-9]+")


def slug(name: str) -> str:
    """Lower case, everything but letters and digits as a single hyphen: "MEAT-PCKGD" is `meat-pckgd`."""
    return _REFUSED.sub("-", name.lower()).strip("-") or "unknown"


def slugs(names: pd.Series) -> pd.Series:
    """`slug` of a whole column, each distinct name made only once."""
    return names.astype(str).map({name: slug(name) for name in names.astype(str).unique()})


def customer_id(household: int) -> str:
    return f"household:{household}"


def offer_id(campaign: int, coupon: int) -> str:
    return f"c{campaign}-{coupon}"
