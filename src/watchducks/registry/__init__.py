"""The registry: sites and their owners, and the revision that everything else follows.

``registration`` validates (pure), ``registry`` keeps, ``feed`` tells the other parts.
"""
