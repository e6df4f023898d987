"""Where log lines go: a file, stderr in the foreground, else syslog where there is one."""

import logging
import logging.handlers
from pathlib import Path

from cosfs.config import MountConfig
from cosfs.errors import ConfigError

_SYSLOG = Path("/dev/log")


def set_up_logging(config: MountConfig) -> None:
    """Send what *config* asks for where it says. Raises ConfigError for a file that cannot be."""
    handler = _handler(config)
    logger = logging.getLogger()
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING)  # libraries: httpx tells every request at INFO
    logging.getLogger("cosfs").setLevel(config.log_level.upper())


def _handler(config: MountConfig) -> logging.Handler:
    if config.log_file is not None:
        return _file_handler(config.log_file)
    if config.foreground:
        return _formatted(logging.StreamHandler(), "%(asctime)s %(levelname)s %(message)s")
    if _SYSLOG.exists():
        handler = logging.handlers.SysLogHandler(address=str(_SYSLOG))
        return _formatted(handler, "cosfs[%(process)d]: %(levelname)s %(message)s")
    return logging.NullHandler()


def _file_handler(file: Path) -> logging.Handler:
    try:
        handler = logging.handlers.WatchedFileHandler(file)  # opens anew after logrotate
    except OSError as error:
        raise ConfigError(f"log file {file}: {error.strerror}") from error
    return _formatted(handler, "%(asctime)s %(process)d %(levelname)s %(message)s")


def _formatted(handler: logging.Handler, line: str) -> logging.Handler:
    handler.setFormatter(logging.Formatter(line))
    return handler
