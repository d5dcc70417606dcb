"""Names as readers see them: heads, roles, tokens."""

import math
from numbers import Integral

LONGEST_TOKEN = 24


def head_label(layer: Integral, head: Integral) -> str:
    """The field's name of a head: layer and head, both from 0."""
    return f"L{layer}H{head}"


def role_label(role: str) -> str:
    """`previous_token` as "previous token"."""
    return role.replace("_", " ")


def visible_token(token: str, longest: int = LONGEST_TOKEN) -> str:
    """A token as a reader can tell it apart from its neighbours, safe to draw and to print.

    Spaces become dots and line breaks arrows; what has no shape of its own (control characters,
    direction marks, halves of surrogate pairs) becomes its code; long tokens are cut.
    """
    shown = token.replace(" ", "·").replace("\n", "⏎").replace("\t", "⇥")
    if len(shown) > longest:
        shown = shown[: longest - 1] + "…"
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in shown)


def power_of_ten(value: float) -> str:
    """10³ for 1000: Matplotlib writes powers as mathematics, which figures here do not read."""
    if value <= 0:
        return "0"
    exponent = str(round(math.log10(value)))
    return "10" + exponent.translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
