"""Python values in messages between ranks: as plain data, never as code."""
