"""Lines as Arduino sketches print them, ASCII, ended by LF. The first value, `n`, numbers them from 1 without a gap.

csv     7,-18.24,0,1,22.1,121.3
json    {"n":7,"temp":-18.24,"door":0,"compressor":1,"ambient":22.1,"power":121.3}
kv      n=7 temp=-18.24 door=0 compressor=1 ambient=22.1 power=121.3
"""

from collections.abc import Sequence

from firmware_sim.protocols.frame import Frame, number_of, text_of
from firmware_sim.signals.model import Quantity

FORMATS = ("csv", "json", "kv")
N = Quantity("n", "1", 0)


class Lines:
    """Encoder of one format for the quantities of a board."""

    def __init__(self, form: str, quantities: Sequence[Quantity]) -> None:
        self._form = form
        self._quantities = (N, *quantities)
        self._n = 0

    def encode(self, t_us: int, values: Sequence[float]) -> list[Frame]:
        """Encode one sample as one line."""
        del t_us  # such lines carry no time
        self._n += 1
        numbered = (self._n, *values)
        texts = [text_of(quantity, value) for quantity, value in zip(self._quantities, numbered, strict=True)]
        names = [quantity.name for quantity in self._quantities]
        if self._form == "csv":
            line = ",".join(texts)
        elif self._form == "kv":
            line = " ".join(f"{name}={text}" for name, text in zip(names, texts, strict=True))
        else:
            line = "{" + ",".join(f'"{name}":{text}' for name, text in zip(names, texts, strict=True)) + "}"
        last = len(texts[-1])
        cut = len(line) - (last + 1) // 2 - (self._form == "json")
        readings = tuple((name, number_of(text)) for name, text in zip(names, texts, strict=True))
        return [Frame(f"{line}\n".encode(), readings, cut)]
