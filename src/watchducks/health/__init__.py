"""The health of the proxies: probe, judge, verdict.

The prober reports one raw result, the judge applies hysteresis, the name server reads the verdict;
none of them does another's work.
"""
