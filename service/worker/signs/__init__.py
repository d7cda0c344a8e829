"""Signs of life: heartbeat, metrics, traces."""
