"""What the API offers, without HTTP: orders that people sign, and views of what the store holds."""
