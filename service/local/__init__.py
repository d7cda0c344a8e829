"""`mindalle serve`: Valkey, API and one worker on this machine, supervised."""
