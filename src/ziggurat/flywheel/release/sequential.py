"""When to stop for harm, with an error rate that holds however often one looks.

People are put at random into treatment (with probability `share`) or control. If the treatment does no harm, each
person with a bad experience is of the treatment with probability `share`, whatever happened before. Let x of the first
k such people be of the treatment. The evidence against "no harm" is a likelihood ratio, averaged over all higher rates:

    E = average over p in (share, 1) of (p / share)^x ((1 - p) / (1 - share))^(k - x)

Under "no harm" E has mean 1 at every k, so by Ville's inequality it ever reaches 1 / alpha with probability alpha at
most (Ville, 1939; Robbins, 1970). One looks after every person and stops then.
"""

from __future__ import annotations

import numpy as np

POINTS = 2000


def evidence(treated: int, bad: int, share: float) -> float:
    """E for `treated` of `bad` people; 1 where nobody had a bad experience.

    >>> evidence(0, 0, 0.5)
    1.0
    >>> round(evidence(10, 10, 0.5), 1)  # the mean of (2p)^10 over (0.5, 1) is 2 * 2^10 (1 - 0.5^11) / 11 = 186.1
    186.1
    """
    if bad == 0:
        return 1.0
    p = share + (1 - share) * (np.arange(POINTS) + 0.5) / POINTS  # midpoints
    logs = treated * np.log(p / share) + (bad - treated) * np.log((1 - p) / (1 - share))
    return float(np.exp(logs).mean())


def harmful(treated: int, bad: int, share: float, alpha: float) -> bool:
    return evidence(treated, bad, share) >= 1 / alpha
