"""The synthetic attributes of customers, contexts and offers, in the order in which the model reads them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Attribute:
    """A declared attribute; `values` are a category's, in the order of their codes."""

    id: str
    type: str
    values: tuple[str, ...] = ()

    def declaration(self) -> dict[str, object]:
        """The attribute as the catalog file declares it."""
        declared: dict[str, object] = {"id": self.id, "type": self.type}
        return declared | ({"values": list(self.values)} if self.values else {})


CATEGORY_VALUES = tuple(f"v{code}" for code in range(10))
DEVICES = ("app", "web", "kiosk", "call", "mail", "tv", "watch", "car", "post", "other")

NUMBERS = tuple(Attribute(f"a{index:02d}", "number") for index in range(56))
CATEGORIES = tuple(Attribute(f"c{index}", "category", CATEGORY_VALUES) for index in range(4))
BOOLEANS = tuple(Attribute(f"b{index}", "boolean") for index in range(4))

CUSTOMER = (*NUMBERS, *CATEGORIES, *BOOLEANS)
"""64 attributes of a customer. A population is a float32 matrix with these columns, categories as codes."""

CONTEXT = (
    Attribute("k0", "number"),
    Attribute("k1", "number"),
    Attribute("k2", "category", DEVICES),
    Attribute("k3", "boolean"),
)
"""4 attributes of the moment."""

OFFER = tuple(f"f{index:02d}" for index in range(60))
"""60 numbers of an offer."""

DEPARTMENTS = ("grocery", "drug", "meat", "produce", "bakery", "deli", "dairy", "frozen")

NUMBER_MAX = 100.0
"""Numbers of customers and contexts are uniform from 0 to this, so that a threshold says its probability."""

TRUE_SHARE = 0.7
"""How often a boolean is true, and how often the skewed categories `c2` and `c3` have their first value."""

SKEWED = ("c2", "c3")
