"""Looks up tokens in the dictionary of a full-text index of Lance: a token to its number.

Lance stores it as a finite-state transducer, in the format of the Rust library fst (version 3):
each node is written backwards, so its address is that of its last byte, and the numbers along the
path of a token sum up to its number. Does no I/O.
"""

from dataclasses import dataclass

_VERSION, _HEADER, _FOOTER = 3, 16, 20
# The bytes that a node with one transition can name in six bits, from 1.
_COMMON = b"te/oasripcnw.hlm-du012g=:bf3y5&_4v9678k%?xCDASFIBEjPTzRNM+LOqHG"
_INDEXED = 32
"""A node with more transitions has a table from bytes to transitions."""


@dataclass(frozen=True, slots=True)
class _Step:
    """A transition: what it adds to the number, and the address of the next node."""

    output: int
    address: int


class TokenIds:
    """The numbers of the tokens of one part of a full-text index."""

    def __init__(self, data: bytes) -> None:
        """Use the bytes of a transducer; raise `ValueError` for another format."""
        version = int.from_bytes(data[:8], "little")
        if len(data) < _HEADER + _FOOTER or version != _VERSION:
            raise ValueError(f"a token dictionary of format {version}, expected {_VERSION}")
        self._data = data
        self._length = int.from_bytes(data[-_FOOTER : -_FOOTER + 8], "little")
        self._root = int.from_bytes(data[-_FOOTER + 8 : -_FOOTER + 16], "little")
        if self._root >= len(data) - _FOOTER:
            raise ValueError("a token dictionary that is damaged")

    def __len__(self) -> int:
        """The number of tokens."""
        return self._length

    def get(self, token: str) -> int | None:
        """The number of a token; None for one that is not there."""
        address, number = self._root, 0
        for byte in token.encode():
            step = self._step(address, byte) if address else None
            if step is None:
                return None
            address, number = step.address, number + step.output
        final = self._final_output(address)
        return None if final is None else number + final

    def _step(self, address: int, byte: int) -> _Step | None:
        """Follow the transition of a node for a byte; None if it has none."""
        if self._data[address] >> 7:
            return self._only_step(address, byte)
        node = self._node(address)
        at = self._transition(node, byte)
        if at is None:
            return None
        start = node.end_of_inputs - (at + 1) * node.address_bytes
        end_of_addresses = node.end_of_inputs - node.count * node.address_bytes
        output_start = end_of_addresses - (at + 1) * node.output_bytes
        output = self._number(output_start, node.output_bytes)
        return _Step(output, self._target(start, node.address_bytes, self._lowest(node)))

    def _only_step(self, address: int, byte: int) -> _Step | None:
        """Follow the transition of a node that has one and is no end of a token."""
        data, state = self._data, self._data[address]
        common, at = state & 0x3F, address
        if not common:
            at -= 1
        if byte != (_COMMON[common - 1] if common else data[at]):
            return None
        if state & 0x40:  # the next node is the one before it
            return _Step(0, at - 1)
        sizes = data[at - 1]
        address_bytes, output_bytes = sizes >> 4, sizes & 0xF
        start = at - 1 - address_bytes
        lowest = start - output_bytes
        return _Step(self._number(lowest, output_bytes), self._target(start, address_bytes, lowest))

    def _final_output(self, address: int) -> int | None:
        """What the end of a token adds to its number; None if no token ends at this node."""
        if not address:
            return 0
        if self._data[address] >> 7 or not self._data[address] & 0x40:
            return None
        node = self._node(address)
        return self._number(self._lowest(node), node.output_bytes)

    def _node(self, address: int) -> "_Node":
        data, state = self._data, self._data[address]
        count, at = state & 0x3F, address
        if not count:
            at -= 1
            count = 256 if data[at] == 1 else data[at]
        sizes = data[at - 1]
        index = at - 1 - (256 if count > _INDEXED else 0)
        is_final = bool(state & 0x40)
        return _Node(count, sizes >> 4, sizes & 0xF, index, index - count, is_final)

    def _transition(self, node: "_Node", byte: int) -> int | None:
        if node.count > _INDEXED:
            at = self._data[node.end_of_index + byte]
            return at if at < node.count else None
        # The inputs are stored backwards too.
        start = self._data.find(byte, node.end_of_inputs, node.end_of_index)
        return None if start < 0 else node.end_of_index - 1 - start

    def _lowest(self, node: "_Node") -> int:
        """The address of a node's first byte."""
        numbers = node.count * (node.address_bytes + node.output_bytes)
        return node.end_of_inputs - numbers - (node.output_bytes if node.is_final else 0)

    def _target(self, start: int, size: int, lowest: int) -> int:
        distance = self._number(start, size)
        return lowest - distance if distance else 0

    def _number(self, start: int, size: int) -> int:
        return int.from_bytes(self._data[start : start + size], "little")


@dataclass(frozen=True, slots=True)
class _Node:
    """A node with any number of transitions; its parts end, backwards, at these addresses."""

    count: int
    address_bytes: int
    output_bytes: int
    end_of_index: int
    end_of_inputs: int
    is_final: bool
