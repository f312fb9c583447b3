"""How a wrong value is described, the same at every door (form, API, command, configuration)."""

from __future__ import annotations

from collections.abc import Mapping


class Problem(ValueError):
    """One value that is not acceptable, and what would be.

    The text is kept as a template and its parameters, so that the console can translate the
    template and still fill in the value; ``str()`` is the English sentence.

    :ivar code: a stable word for programs, such as ``"reserved-address"``.
    :ivar template: an English sentence with ``{name}`` places.
    :ivar parameters: what belongs in these places. Never holds a secret.
    """

    def __init__(self, code: str, template: str, /, **parameters: str | int) -> None:
        super().__init__(template.format(**parameters))
        self.code = code
        self.template = template
        self.parameters: Mapping[str, str | int] = parameters


class InvalidFields(ValueError):
    """One or more fields of a form or body are wrong.

    :ivar problems: field name -> its problem, in the order of the form.
    """

    def __init__(self, problems: Mapping[str, Problem]) -> None:
        super().__init__("; ".join(f"{field}: {problem}" for field, problem in problems.items()))
        self.problems = dict(problems)
