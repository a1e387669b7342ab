"""What the people who run the gateway see of it: logs, and tables on the command line."""
