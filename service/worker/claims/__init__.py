"""Which jobs this worker holds, and how it keeps them."""
