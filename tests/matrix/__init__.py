"""Every shape of request at every provider that people use most, by what they use of it: the matrix of providers.

`features.py` says what is asked and answered, `places.py` where each provider's documentation puts its API and in which
form, `driver.py` asks through a gateway, and `sdk_types.py` holds requests, answers and events against the SDKs.
"""
