"""Reports for the command line: spend, the rooms of a policy, the way of a request, policies tried on old traffic."""
