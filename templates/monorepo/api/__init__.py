"""The API of the notes."""
