"""Command lines: a mistake ends the program with one line and status 2, before it does anything."""

import re
import traceback
from typing import Any

from absl import flags, logging
from ml_collections import config_flags

from datafree_nas.runtime.config import Config
from datafree_nas.runtime.errors import UserError, did_you_mean, exit_cleanly

_OVERRIDE = re.compile(r"^--?(?:no)?config\.([^=\[]+)")
_FILE = re.compile(r"^--?config(?:=(.*))?$", re.DOTALL)


def parse(argv: list[str], default_config: str = "") -> list[str]:
    """Parses absl and config flags; for `app.run(main, flags_parser=parse)`.

    Args:
        argv: command line, with the program's name first.
        default_config: config file to use if `--config` is not given; empty for a program without
            that flag. (As the default in the flag's definition, it would be read with all its
            overrides before their mistakes could be caught.)

    Raises:
        SystemExit: status 2, after one line on stderr that names the flag.
    """
    rest: list[str] = []

    def body() -> None:
        try:
            file = _file(argv, default_config)
            before = _checked(file, argv) if default_config else None
            rest.extend(flags.FLAGS(argv if before is None else _with_file(argv, file)))
        except flags.Error as error:
            raise UserError(f"{' '.join(str(error).split())} (--help lists the flags)") from None
        except (TypeError, ValueError) as error:
            raise UserError(f"--config: {str(error).strip().splitlines()[-1]}") from None
        if before is not None:
            _forget_settings_of_another_space(before)

    exit_cleanly(body)
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.ERROR)  # Orbax and TFDS log every step they take
    return rest


def _file(argv: list[str], default: str) -> str:
    """Returns the last config file that a command line names, or the default one."""
    following = zip(argv, [*argv[1:], ""], strict=True)
    files = [match[1] or after for arg, after in following if (match := _FILE.match(arg))]
    return files[-1] if files else default


def _with_file(argv: list[str], file: str) -> list[str]:
    """Returns a command line with its config file in it."""
    return argv if any(map(_FILE.match, argv)) else [argv[0], f"--config={file}", *argv[1:]]


def _checked(file: str, argv: list[str]) -> Config:
    """Reads a config file, and checks that every override on the command line names a field."""
    config = _read(file)
    for override in filter(None, map(_OVERRIDE.match, argv)):
        check_field(config, override[1])
    return config


def _forget_settings_of_another_space(before: Config) -> None:
    """Resets the settings of the file's search space if the command line names another space.

    What the command line itself sets stays; all other settings become None, the space's default.

    Args:
        before: config as the file has it.
    """
    flag = flags.FLAGS["config"]
    overridden = config_flags.get_override_values(flag)
    name = overridden.get("search.space.name")
    if name is None or name == before.search.space.name:
        return
    chosen: Any = flag.value
    chosen = chosen.search.space
    with chosen.ignore_type():
        for setting in set(chosen) - {"name"}:
            if f"search.space.{setting}" not in overridden:
                chosen[setting] = None


def _read(file: str) -> Any:
    """Reads the config of a file; raises `UserError` with the file's line if that fails."""
    try:
        config: Any = flags.FLAGS["config"].parser.parse(file)
        config.keys()  # a file that cannot be read raises its error only here
    except OSError:
        raise UserError(f"--config: cannot read {file}") from None
    except (ValueError, UserError):
        raise  # about an option after the colon, or with a message of the file's own
    except SyntaxError as error:
        raise UserError(f"--config: {file}, line {error.lineno}: {error.msg}") from None
    except Exception as error:  # the file is a program, which may raise anything
        path = file.partition(":")[0]
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if path in f.filename]
        where = f", line {lines[-1]}" if lines else ""
        kind = type(error).__name__
        reason = (str(error).strip().splitlines() or [""])[-1].removeprefix(f"{kind}: ")
        raise UserError(f"--config: {file}{where}: {kind}: {reason}") from None
    if not isinstance(config, Config):
        raise UserError(f"--config: get_config of {file} has to return a ConfigDict")
    return config


def check_field(config: Config, name: str) -> None:
    """Raises `UserError` unless `name`, e.g. `synthesis.rounds`, is a field of `config`."""
    inner: Any = config
    parts = name.split(".")
    for depth, part in enumerate(parts):
        known = list(inner.keys()) if isinstance(inner, Config) else []
        if part not in known:
            parent = ".".join(["config", *parts[:depth]])
            raise UserError(f"{parent} has no field {part!r}{did_you_mean(part, known)}")
        inner = inner[part]


def stages_from(text: str, known: list[str]) -> list[str]:
    """Returns the stages that `--stages` names, in the pipeline's order; all if it is empty.

    Raises:
        UserError: a stage is unknown.
    """
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    for name in wanted:
        if name not in known:
            raise UserError(f"--stages: no stage {name!r}{did_you_mean(name, known)}")
    return [name for name in known if name in wanted] if wanted else known
