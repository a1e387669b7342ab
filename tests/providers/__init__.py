"""Providers as small real HTTP servers on a free loopback port, scripted by the test that starts them.

They import nothing from the gateway and speak as the APIs' own pages say; what a test wants of them is an attribute.
"""
