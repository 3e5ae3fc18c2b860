"""The data set's abbreviated category names in words that a customer can read."""

from __future__ import annotations

import re

_NAMES = {
    "BAG SNACKS": "snacks",
    "BAKED BREAD/BUNS/ROLLS": "bread and rolls",
    "BREAKFAST SAUSAGE/SANDWICHES": "breakfast sausage",
    "CANDY - CHECKLANE": "candy bars",
    "CANDY - PACKAGED": "candy",
    "CHEESES": "deli cheese",
    "CHICKEN/POULTRY": "chicken",
    "CONDIMENTS/SAUCES": "condiments and sauces",
    "CONVENIENT BRKFST/WHLSM SNACKS": "breakfast bars",
    "COOKIES/CONES": "cookies",
    "CRACKERS/MISC BKD FD": "crackers",
    "DINNER MXS:DRY": "dinner mixes",
    "DISHWASH DETERGENTS": "dish detergent",
    "DRY BN/VEG/POTATO/RICE": "rice and beans",
    "DRY NOODLES/PASTA": "pasta",
    "DRY SAUCES/GRAVY": "sauces and gravy",
    "FACIAL TISS/DNR NAPKIN": "tissues and napkins",
    "FD WRAPS/BAGS/TRSH BG": "wraps and bags",
    "FLORAL-FRESH CUT": "cut flowers",
    "FLUID MILK PRODUCTS": "milk",
    "FROZEN BREAD/DOUGH": "frozen bread",
    "FRZN JCE CONC/DRNKS": "frozen juice",
    "FRZN MEAT/MEAT DINNERS": "frozen meals",
    "FRZN NOVELTIES/WTR ICE": "ice pops",
    "FRZN VEGETABLE/VEG DSH": "frozen vegetables",
    "FRUIT - SHELF STABLE": "canned fruit",
    "HAND/BODY/FACIAL PRODUCTS": "skin care",
    "HEAT/SERVE": "ready meals",
    "HISPANIC": "Hispanic foods",
    "HOUSEHOLD CLEANG NEEDS": "household cleaners",
    "ICE CREAM/MILK/SHERBTS": "ice cream",
    "ISOTONIC DRINKS": "sports drinks",
    "MAKEUP AND TREATMENT": "makeup",
    "MARGARINES": "margarine",
    "MEAT - SHELF STABLE": "canned meat",
    "MILK BY-PRODUCTS": "cream and sour cream",
    "MISC. DAIRY": "dairy products",
    "PAPER HOUSEWARES": "paper plates and cups",
    "PICKLE/RELISH/PKLD VEG": "pickles and relish",
    "PNT BTR/JELLY/JAMS": "peanut butter and jam",
    "PROCESSED": "packaged deli",
    "PWDR/CRYSTL DRNK MX": "drink mixes",
    "REFRIGERATED": "chilled foods",
    "REFRGRATD JUICES/DRNKS": "chilled juices",
    "SALADS/DIPS": "salads and dips",
    "SALD DRSNG/SNDWCH SPRD": "salad dressing",
    "SEAFOOD - FROZEN": "frozen seafood",
    "SEAFOOD - SHELF STABLE": "canned seafood",
    "SEAFOOD-FRESH": "fresh seafood",
    "SHORTENING/OIL": "cooking oil",
    "SOAP - LIQUID & BAR": "soap",
    "SUGARS/SWEETNERS": "sugar and sweeteners",
    "VEGETABLES - SHELF STABLE": "canned vegetables",
    "WATER - CARBONATED/FLVRD DRINK": "sparkling water",
}
_WORDS = {
    "FRZN": "frozen",
    "JCE": "juice",
    "REFRGRATD": "chilled",
    "BRKFST": "breakfast",
    "MX": "mix",
    "MXS": "mixes",
    "MISC": "other",
    "CESSATIONS": "cessation",
}


def readable(category: str) -> str:
    """ "FROZEN PIZZA" is "frozen pizza", "FRZN MEAT/MEAT DINNERS" is "frozen meals"."""
    if category in _NAMES:
        return _NAMES[category]
    spaced = re.sub(r"\s*[-/:]\s*", ", ", re.sub(r"\s*&\s*", " and ", category)).replace(".", "")
    return " ".join(_word(word) for word in spaced.split())


def _word(word: str) -> str:
    bare = word.rstrip(",")
    return _WORDS.get(bare, bare.lower()) + word[len(bare) :]


def title(discount: float, category: str) -> str:
    """The headline of a coupon: "Save $1.00 on frozen pizza"."""
    return f"Save ${discount:.2f} on {readable(category)}"
