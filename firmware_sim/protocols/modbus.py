"""Modbus RTU slave, after "Modbus over Serial Line V1.02" and "Modbus Application Protocol V1.1b3".

    | unit 1 B | function 1 B | data … | CRC-16 2 B, low byte first |

Frames and PDUs are pymodbus's: its server framer checks and builds them. Its serial server itself is not used, since
it would open the far end of the pty and thereby hold it open for good: nobody could tell whether a master is there.

Function codes 3 (holding registers) and 4 (input registers) read the same registers; all else is answered with
ILLEGAL FUNCTION, registers that do not exist with ILLEGAL DATA ADDRESS, other units not at all. Values of several
registers have their high word first. A value counts as served if all of its registers were in the answer.
"""

import logging
from collections.abc import Sequence

from pymodbus.constants import ExcCodes
from pymodbus.exceptions import ModbusIOException
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadHoldingRegistersResponse,
    ReadInputRegistersRequest,
    ReadInputRegistersResponse,
)

from firmware_sim.protocols.frame import Frame, Number
from firmware_sim.protocols.register import Register
from firmware_sim.signals.model import Quantity

# pymodbus logs each damaged request; a simulator on a noisy line expects them.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)

MAX_READ_REGISTERS = 125
MAX_WAITING_BYTES = 512
SILENCE_S = 0.1  # after this long without a byte, what came before is no frame any more (a busy machine is slow)


class RtuSlave:
    """The slave on one bus."""

    def __init__(self, quantities: Sequence[Quantity], registers: Sequence[Register], unit: int) -> None:
        self._names = [quantity.name for quantity in quantities]
        self._registers = registers
        self._unit = unit
        self._framer = FramerRTU(DecodePDU(is_server=True))
        self._waiting = b""
        self._heard_s = 0.0

    def receive(self, data: bytes, now_s: float, values: Sequence[float]) -> list[Frame]:
        """Take in bytes of the master; return the answers."""
        if now_s - self._heard_s > SILENCE_S:
            self._waiting = b""
        self._heard_s = now_s
        self._waiting = (self._waiting + data)[-MAX_WAITING_BYTES:]
        answers = []
        while self._waiting:
            try:
                used, request = self._framer.handleFrame(self._waiting, 0, 0)
            except ModbusIOException:  # a frame with a right CRC that says nothing that Modbus knows
                self._waiting = b""
                break
            self._waiting = self._waiting[used:]
            if request is None:
                break
            if request.dev_id == self._unit:
                answers.append(self._answer(request, values))
        return answers

    def _answer(self, request: ModbusPDU, values: Sequence[float]) -> Frame:
        if not isinstance(request, ReadHoldingRegistersRequest):
            return self._frame(ExceptionResponse(request.function_code, ExcCodes.ILLEGAL_FUNCTION), ())
        words: dict[int, int] = {}
        said: list[tuple[str, Number]] = []
        asked = range(request.address, request.address + request.count)
        for name, register, value in zip(self._names, self._registers, values, strict=True):
            encoded, number = register.encode(value)
            words.update(enumerate(encoded, register.address))
            if register.address in asked and register.address + register.words - 1 in asked:
                said.append((name, number))
        if not 1 <= request.count <= MAX_READ_REGISTERS:
            return self._frame(ExceptionResponse(request.function_code, ExcCodes.ILLEGAL_VALUE), ())
        if any(address not in words for address in asked):
            return self._frame(ExceptionResponse(request.function_code, ExcCodes.ILLEGAL_ADDRESS), ())
        of_inputs = isinstance(request, ReadInputRegistersRequest)  # pymodbus derives it from the other
        kind = ReadInputRegistersResponse if of_inputs else ReadHoldingRegistersResponse
        return self._frame(kind(registers=[words[address] for address in asked]), tuple(said))

    def _frame(self, answer: ModbusPDU, said: tuple[tuple[str, Number], ...]) -> Frame:
        answer.dev_id = self._unit
        data = self._framer.buildFrame(answer)
        return Frame(data, said, len(data) // 2)
