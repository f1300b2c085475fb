"""Services that the tests serve."""
