"""Command lines: a mistake ends in one line and status 2, before anything is touched."""

import re
from typing import Any

from absl import flags, logging

from datafree_nas.runtime.config import Config
from datafree_nas.runtime.errors import UserError, did_you_mean, exit_cleanly

_OVERRIDE = re.compile(r"^--?config\.([^=]+)")


def parse(argv: list[str]) -> list[str]:
    """Parses absl and config flags; for `app.run(main, flags_parser=parse)`.

    Raises:
        SystemExit: 2, after one line on stderr that names the flag.
    """
    rest: list[str] = []

    def body() -> None:
        try:
            rest.extend(flags.FLAGS(argv))
        except flags.Error as error:
            raise UserError(f"{' '.join(str(error).split())} (--help lists the flags)") from None
        except (FileNotFoundError, IsADirectoryError) as error:
            raise UserError(f"--config: cannot read {error.filename}") from None
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise _config_error(argv, error) from error

    exit_cleanly(body)
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.ERROR)  # Orbax and TFDS tell of every step they take
    return rest


def _config_error(argv: list[str], error: Exception) -> UserError:
    config = flags.FLAGS["config"].value if "config" in flags.FLAGS else None
    if config is not None:
        for match in filter(None, map(_OVERRIDE.match, argv)):
            check_field(config, match[1])
    return UserError(f"the config cannot be used: {' '.join(str(error).split())}")


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
    """The stages that `--stages` names, in the pipeline's order.

    Raises:
        UserError: an unknown stage.
    """
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    for name in wanted:
        if name not in known:
            raise UserError(f"--stages: no stage {name!r}{did_you_mean(name, known)}")
    return [name for name in known if name in wanted] if wanted else known
