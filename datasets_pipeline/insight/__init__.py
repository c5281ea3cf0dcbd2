"""Looking into corpus versions: what a changed rule would do, what differs between two, what was taken for a copy."""
