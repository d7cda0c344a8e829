"""What a number of a shape may be, said to whoever checks a document. Checks nothing itself."""

from __future__ import annotations

import math
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

_MOST = 100_000_000  # of a shape's number: products of larger ones are beyond any address

Size = Annotated[int, Gt(0), Le(_MOST)]
Count = Annotated[int, Ge(0), Le(_MOST)]
Share = Annotated[float, Ge(0), Le(1)]
Amount = Annotated[float, Ge(0), Lt(math.inf)]
