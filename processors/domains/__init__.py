"""What the DNS says of domains."""
