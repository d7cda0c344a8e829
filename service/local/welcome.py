"""What `mindalle serve` says on the terminal: while it starts, and once pictures can be had.

Text only.
"""

from __future__ import annotations

from collections.abc import Sequence

import service
from service.settings import Settings


def starting(models: Sequence[str]) -> str:
    """The first line; the first model is loaded before all else."""
    return f"minDALL-E Serve {service.__version__}: loading {models[0]} ..."


def ready(settings: Settings, url: str, models: Sequence[str] = ()) -> str:
    """Where it is, a line to try, where pictures are, how to stop it."""
    served = ", ".join(models or (settings.model,))
    key = "-H 'authorization: Bearer YOUR_KEY' " if settings.needs_key else ""
    page = f"{url}/" if settings.api.playground else f"{url}/docs"
    minutes = max(1, round(settings.queue.result_ttl_s / 60))
    return f"""
minDALL-E Serve is ready: {served}

  Page      {page}
  Try       curl -s {url}/v1/images/generations \\
              {key}-H 'content-type: application/json' -H 'accept: image/png' \\
              -d '{{"prompt": "a red heart"}}' -o heart.png
  Pictures  in the file that you name with -o; the server keeps each for {minutes} min
            at {url}/v1/jobs/JOB_ID/images/0
  API       {url}/docs
  Stop      Ctrl-C
"""
