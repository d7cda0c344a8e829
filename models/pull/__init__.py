"""Released models by one command: fetched, checked, unpacked without trust, converted."""
