"""What a number of a shape may be, said to whoever checks a document. Checks nothing itself."""

from __future__ import annotations

import math
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

Size = Annotated[int, Gt(0)]
Count = Annotated[int, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]
Amount = Annotated[float, Ge(0), Lt(math.inf)]
