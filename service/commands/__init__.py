"""The subcommands of `mindalle`, one file each: `add_arguments(parser)` and `run(args)`."""
