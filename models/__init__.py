"""The models. Imports none of them: `models.presets` must be importable without torch."""

import os

# OpenMP reads it once, when torch is loaded. Threads that wait for each other within a step spin
# for some 30 µs before they sleep: long enough on a free core, and not the millisecond of the
# default, for which a busy core would be kept from the very thread that is waited for.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
