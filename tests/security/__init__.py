"""What an enemy or an operator's mistake can do to a worker: certificates, passwords, hostile peers."""
