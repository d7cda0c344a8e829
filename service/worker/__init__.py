"""The worker process: claims jobs, steps them together, delivers pictures. Imports no FastAPI."""

import os

# How long a thread of torch's OpenMP team spins at a barrier before it sleeps, in loops: about
# 0.2 ms, longer than the gaps of a step. libgomp's own some milliseconds are taken from whoever
# would let the awaited thread go on. Read once, when torch is loaded: so it stands before all else.
if not os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
    os.environ["GOMP_SPINCOUNT"] = "20000"
