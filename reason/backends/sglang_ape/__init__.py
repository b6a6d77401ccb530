"""Contexts read side by side (APE) on a stock SGLang server: a plug-in that the server loads.

`plugin` is what the server calls and `wire` what a request says; the rest runs in the server alone:
`cache` answers a request with the KV of its contexts, `pins` keeps these until it comes, `forward`
and `attention` read them as APE does, `limits` refuses servers on which that would go wrong.
"""
