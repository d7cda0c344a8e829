"""What stands between API and workers: jobs, leases, results and wake-ups in Redis.

The only package that knows Redis keys.
"""
