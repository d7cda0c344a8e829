"""Webhooks: where they may go, how they are signed and sent. Knows no queue and no job."""
