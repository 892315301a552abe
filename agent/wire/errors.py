"""What can be wrong with a message of the contract."""


class WireError(ValueError):
    """A message does not follow the contract.

    `place` is where, as a JSONPath (`$.segments[3].series[0].dt`); `problem` is what, as a short sentence.
    """

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"{place}: {problem}")
        self.place = place
        self.problem = problem
