"""Code whose documentation is tested, with a fixture of the plugin.

>>> rest = getfixture("connex_rest")
>>> rest.get("/v1/status").json()["status"]
'healthy'
"""
