"""Asks and prints: the only room with typer, rich, exit codes and prompts."""
