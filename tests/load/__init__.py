"""The gateway under load: its books against the provider's, kills, mutated bodies, long texts.

Each module runs by itself (`python -m tests.load.mixed_load --requests 20000`) and small in pytest (test_load.py).
"""
