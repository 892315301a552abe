"""Modbus writes: registers or coils set on a slave, and read back before they count as written.

    one coil       5    several coils       15        address, value or count, data ──▶ echoed without the data
    one register   6    several registers   16

The answer only says that the slave took the request (and an adapter that echoes would forge it); what stands in the
registers afterwards is asked by function 1 or 3. A register that is not what was written, such as a command that the
slave clears at once, is told, not hidden: `Written.problem` names the first one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.bit_message import WriteMultipleCoilsRequest, WriteSingleCoilRequest
from pymodbus.pdu.register_message import WriteMultipleRegistersRequest, WriteSingleRegisterRequest

MAX_WRITE_REGISTERS = 123  # V1.1b3, 6.12
MAX_WRITE_COILS = 1968  # V1.1b3, 6.11
MAX_ORDERS = 8  # that wait for the bus
ECHOED_BYTES = 6  # slave, function, address, value or count
ANSWER_BYTES = ECHOED_BYTES + 2
MAX_ADDRESS = 0xFFFF
MAX_SLAVE = 247


@dataclass(frozen=True, slots=True)
class Order:
    """Values to be written to neighbouring registers (0 … 65535), or coils (0, 1), of one slave.

    `number` is the caller's and comes back with the outcome. `single` wants functions 5 and 6 for one value, as some
    slaves do; others want 15 and 16 also for one.
    """

    number: int
    slave: int
    address: int
    values: tuple[int, ...]
    coils: bool = False
    single: bool = True
    verify: bool = True

    def problem(self) -> str:
        """Return why it cannot be followed, "" if it can."""
        most = MAX_WRITE_COILS if self.coils else MAX_WRITE_REGISTERS
        most_value = 1 if self.coils else MAX_ADDRESS
        if not 1 <= self.slave <= MAX_SLAVE:
            return f"slave {self.slave} is not within 1…{MAX_SLAVE}"
        if not 1 <= len(self.values) <= most:
            return f"{len(self.values)} values; 1 … {most} can be written at once"
        if self.address < 0 or self.address + len(self.values) > MAX_ADDRESS + 1:
            return f"address {self.address} with {len(self.values)} values is not within 0…{MAX_ADDRESS}"
        bad = [value for value in self.values if not 0 <= value <= most_value]
        return f"{bad[0]} is not within 0…{most_value}" if bad else ""

    def request(self) -> ModbusPDU:
        """Return the request that writes."""
        at, slave, values = self.address, self.slave, list(self.values)
        one = self.single and len(values) == 1
        if self.coils:
            bits = [bool(value) for value in values]
            coils = WriteSingleCoilRequest if one else WriteMultipleCoilsRequest
            return coils(address=at, bits=bits, dev_id=slave)
        registers = WriteSingleRegisterRequest if one else WriteMultipleRegistersRequest
        return registers(address=at, registers=values, dev_id=slave)

    def differs(self, items: Sequence[int]) -> str:
        """Say what was read back that was not written, "" if all is as it should be."""
        for at, (wanted, found) in enumerate(zip(self.values, items, strict=False)):
            if wanted != int(found):
                what = "coil" if self.coils else "register"
                return f"{what} {self.address + at} is {int(found)} after {wanted} was written"
        return ""
