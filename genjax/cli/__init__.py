"""Commands of the `genjax` program, one module per command."""
