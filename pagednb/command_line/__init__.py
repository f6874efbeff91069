"""The command ``pagednb``: one file a subcommand, on the same engine as every other surface."""
