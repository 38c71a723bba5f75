"""Reads a pickle as plain data: nothing that it names is imported, and nothing is called.

A pickle is a program for a small stack machine. The machine here knows the same instructions, but
where Python's own would call a function or build an object of a class, it only records the name and
the arguments (`Object`). So a checkpoint that holds a path, a date, an optimizer or an object of a
user's class beside its weights can be read, and one that would run a command is refused.
"""

import io
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any, cast

# An instruction of one byte can take up to 200 bytes of memory, so their number is limited. The
# checkpoint of a ResNet-152 with its optimizer has 55 000 of them.
MAX_STEPS = 1_000_000
_MAX_NAME = 500  # characters; without a limit, a file could join names to longer and longer ones
_MAX_LINE = 1 << 16  # bytes
_MAX_KEY = 1 << 64  # numbers that are keys must be smaller: a large one can be very long as text

# Nothing is ever called, so safety does not depend on this list. It is there to warn the user.
_COMMANDS = re.compile(
    r"(os|posix|nt)\.(system|popen|exec\w*|spawn\w*)|(subprocess|runpy|pty)\.\w+|"
    r"(builtins|__builtin__)\.(eval|exec|execfile|compile|__import__)|importlib\.import_module"
)


class Name(str):
    """Name of a function or class in the pickle: `module.name`."""

    __slots__ = ()


@dataclass(eq=False, slots=True)
class Object:
    """The result that a call would have; the call is not made.

    Attributes:
        name: name of the function or class that would be called: `module.name`.
        args: positional arguments of the call.
        state: attributes that would be set on the result, as stored; None if there are none.
        items: entries that would be put into the result, if it is a mapping.
    """

    name: str
    args: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)


def load(
    file: io.BufferedIOBase,
    persistent: Callable[[Any], Any] | None = None,
    max_steps: int = MAX_STEPS,
) -> Any:
    """Reads one pickle, and leaves the file at the end of it.

    Args:
        file: file whose position is at the beginning of a pickle.
        persistent: function that gets the pickle's reference to data outside of it, and returns an
            object to stand for them; None if such references are an error.
        max_steps: largest number of instructions that the pickle may have.

    Returns:
        Numbers, strings, bytes, None, tuples, lists and dicts as they are; everything else as
        `Name` or `Object`. Keys of dicts that are numbers become strings.

    Raises:
        Exception: an error of any kind, if this is not a pickle or is damaged.
    """
    machine = _Machine(persistent)
    instructions = pickletools.genops(cast(IO[bytes], _Bounded(file)))
    for number, (opcode, argument, _) in enumerate(instructions):
        if number >= max_steps:
            raise ValueError(f"a pickle of more than {max_steps} instructions")
        step = _STEPS.get(opcode.name)
        if step is not None:
            step(machine, argument)
        elif opcode.arg is not None and not opcode.stack_before and len(opcode.stack_after) == 1:
            machine.stack.append(argument)  # a number, a string, bytes
        else:
            raise ValueError(f"a pickle with the instruction {opcode.name}")
    return machine.stack.pop()


class _Bounded:
    """A file that refuses to read more than is left; Python would allocate the memory first."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file, start = file, file.tell()
        self._end = file.seek(0, io.SEEK_END)
        file.seek(start)

    def read(self, size: int) -> bytes:
        if size > self._end - self._file.tell():
            raise ValueError("it is truncated")
        return self._file.read(size)

    def readline(self) -> bytes:
        return self._file.readline(_MAX_LINE)


class _Machine:
    """The stack, the positions of its marks, and the values stored for later (the memo)."""

    def __init__(self, persistent: Callable[[Any], Any] | None) -> None:
        self.persistent = persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def since_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def pop(self, _: Any) -> None:
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.stack.pop()

    def memoize(self, place: int | None) -> None:
        self.memo[len(self.memo) if place is None else place] = self.stack[-1]

    def take(self, count: int) -> list[Any]:
        """Removes the last entries of the stack and returns them."""
        if count > len(self.stack):
            raise ValueError("the stack of its pickle is empty")
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return items

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)

    def put(self, items: list[Any]) -> None:
        """Adds alternating keys and values to the mapping or object on top of the stack."""
        target = self.stack[-1]
        entries = target.items if isinstance(target, Object) else target
        for key, value in zip(items[::2], items[1::2], strict=True):
            entries[_key(key)] = value

    def call(self, function: Any, args: Any) -> None:
        name = _named(function)
        if _COMMANDS.fullmatch(name):
            raise ValueError(f"a hostile file: PyTorch would call {name}")
        self.stack.append(Object(name, args if isinstance(args, tuple) else (args,)))

    def outside(self) -> Any:
        (identity,) = self.take(1)
        if self.persistent is None:
            raise ValueError("a pickle that refers to data outside of it")
        return self.persistent(identity)

    def build(self, _: Any) -> None:
        (state,) = self.take(1)
        if isinstance(self.stack[-1], Object):
            self.stack[-1].state = state


def _key(value: Any) -> Any:
    """Returns a key that is quick to hash and to compare, whatever the file holds."""
    if isinstance(value, str | bytes):
        return value
    if isinstance(value, float | None) or (isinstance(value, int) and abs(value) < _MAX_KEY):
        return str(value)
    return Object(_named(value))


def _named(value: Any) -> str:
    if isinstance(value, Object):
        return value.name
    return value if isinstance(value, Name) else type(value).__name__


def _name(module: Any, name: Any) -> Name:
    if not isinstance(module, str) or not isinstance(name, str):
        raise ValueError("a name in its pickle is no name")
    if len(module) + len(name) > _MAX_NAME:
        raise ValueError(f"a name in its pickle has more than {_MAX_NAME} characters")
    return Name(f"{module}.{name}")


Step = Callable[[_Machine, Any], Any]


def _push(make: Callable[[_Machine], Any]) -> Step:
    return lambda machine, _: machine.stack.append(make(machine))


def _dict(items: list[Any]) -> dict[Any, Any]:
    return {_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


def _global(machine: _Machine, argument: str) -> None:
    machine.stack.append(_name(*argument.split(" ", 1)))


def _stack_global(machine: _Machine, _: Any) -> None:
    machine.stack.append(_name(*machine.take(2)))


def _object(machine: _Machine, _: Any) -> None:
    kind, *args = machine.since_mark()
    machine.call(kind, tuple(args))


def _instance(machine: _Machine, argument: str) -> None:
    machine.call(_name(*argument.split(" ", 1)), tuple(machine.since_mark()))


def _new_with_keywords(machine: _Machine, _: Any) -> None:
    kind, args, _keywords = machine.take(3)
    machine.call(kind, args)


_STEPS: dict[str, Step] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda machine, _: None),
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": lambda machine, _: machine.marks and machine.since_mark(),
    "DUP": _push(lambda machine: machine.stack[-1]),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _Machine.memoize),
    **dict.fromkeys(
        ("GET", "BINGET", "LONG_BINGET"),
        lambda machine, place: machine.stack.append(machine.memo[place]),
    ),
    "NONE": _push(lambda machine: None),
    "NEWTRUE": _push(lambda machine: True),
    "NEWFALSE": _push(lambda machine: False),
    "EMPTY_LIST": _push(lambda machine: []),
    "EMPTY_TUPLE": _push(lambda machine: ()),
    "EMPTY_DICT": _push(lambda machine: {}),
    "EMPTY_SET": _push(lambda machine: Object("builtins.set")),
    "LIST": _push(_Machine.since_mark),
    "TUPLE": _push(lambda machine: tuple(machine.since_mark())),
    "TUPLE1": _push(lambda machine: tuple(machine.take(1))),
    "TUPLE2": _push(lambda machine: tuple(machine.take(2))),
    "TUPLE3": _push(lambda machine: tuple(machine.take(3))),
    "DICT": _push(lambda machine: _dict(machine.since_mark())),
    "FROZENSET": _push(lambda machine: Object("builtins.frozenset", (machine.since_mark(),))),
    "APPEND": lambda machine, _: machine.append(machine.take(1)),
    "APPENDS": lambda machine, _: machine.append(machine.since_mark()),
    "ADDITEMS": lambda machine, _: machine.append(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.put(machine.take(2)),
    "SETITEMS": lambda machine, _: machine.put(machine.since_mark()),
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": lambda machine, _: machine.call(*machine.take(2)),
    "NEWOBJ": lambda machine, _: machine.call(*machine.take(2)),
    "NEWOBJ_EX": _new_with_keywords,
    "OBJ": _object,
    "INST": _instance,
    "BUILD": _Machine.build,
    "BINPERSID": _push(_Machine.outside),
}
