"""What became of a run goes to the queue."""
