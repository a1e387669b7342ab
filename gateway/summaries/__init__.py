"""Summaries of folded messages: the jobs that write them between requests, and their values in the state."""
