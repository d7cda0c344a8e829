"""`python -m service` is `mindalle`."""

from service.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
