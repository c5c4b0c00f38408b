"""What EC2 asks for spot machines, against what the event file says that they cost. Pure: facts in, findings out.

Prices of an event are typed in, since they hold more than the machine: disk, addresses, traffic. A price below what
EC2 asks for the machine alone is therefore wrong, and estimates and the spend limit with it. EC2's are in dollars.
"""

from __future__ import annotations

from collections.abc import Iterator

from mux.preflight.ec2_facts import Ec2Facts, Ec2Wanted
from mux.preflight.finding import Finding, ok, warning

CHECK = "spot prices"
EC2_CURRENCY = "USD"


def spot(wanted: Ec2Wanted, facts: Ec2Facts) -> Iterator[Finding]:
    """One finding, where machines may come from the spot market."""
    if True not in wanted.markets:
        return
    if not facts.spot_prices:
        code = facts.faults.get("DescribeSpotPriceHistory", "nothing")
        text = f"cannot be found out: ec2:DescribeSpotPriceHistory was answered with {code}"
        yield warning(CHECK, text, "allow it to mux's role, or see that spend.spot_prices are what EC2 asks")
        return
    typed = wanted.spot_prices if wanted.currency == EC2_CURRENCY else {}
    asked = ", ".join(f"{kind} {price:.4g}" for kind, price in sorted(facts.spot_prices.items()))
    said = f"EC2 asks {asked} {EC2_CURRENCY} an hour for the machine alone, in the dearest of the zones"
    low = [kind for kind, price in sorted(facts.spot_prices.items()) if typed.get(kind, price) < price]
    if low:
        told = ", ".join(f"{kind} {typed[kind]:.4g}" for kind in low)
        remedy = "raise spend.spot_prices or spend.spot_price_per_ship_hour: estimates and the spend limit go by them"
        yield warning(CHECK, f"{said}, and the event file says {told}", remedy)
    else:
        yield ok(CHECK, said)
