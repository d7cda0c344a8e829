"""The models. Imports none of them: `models.presets` must be importable without torch."""

import os

# OpenMP reads it once, when torch is loaded. Threads that wait for each other within a step spin
# for about 0.2 ms before they sleep: longer than the gaps of a step, and not the milliseconds of
# the default, for which a busy core would be kept from the very thread that is waited for.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
