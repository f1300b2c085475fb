"""One module a migration, its number in front."""
