"""A store of files beside Redis, for finished pictures. Knows no job and no queue."""
