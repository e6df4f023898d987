"""The options of cosfs.options as arguments of a command, and the settings that they make."""

import argparse
from collections.abc import Iterable, Sequence
from typing import Final

from cosfs.options import OPTIONS, Option
from cosfs.settings import Setting, split_options

OPTIONS_METAVAR: Final = "OPTIONS"


class CollectSettings(argparse.Action):
    """Appends what an option says to ``settings``, so that later ones win over earlier ones."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002  argparse's signature
        namespace: argparse.Namespace,
        values: str | Sequence[object] | None,
        option_string: str | None = None,  # noqa: ARG002  argparse's signature
    ) -> None:
        text = values if isinstance(values, str) else None
        if self.metavar == OPTIONS_METAVAR:
            added = split_options(text or "")
        else:
            added = [Setting(name=self.dest, value=text)]
        namespace.settings = [*namespace.settings, *added]


def add_options(parser: argparse.ArgumentParser, options: Iterable[Option] = OPTIONS) -> None:
    """Add *options*, by group; those without one are taken but not shown."""
    parser.set_defaults(settings=[])
    wanted = list(options)
    titles = dict.fromkeys(option.group for option in wanted if option.group)
    groups = {title: parser.add_argument_group(title) for title in titles}
    for option in wanted:
        _add_option(groups.get(option.group, parser), option)


def _add_option(group: argparse._ActionsContainer, option: Option) -> None:
    names = [f"--{name}" for name in (option.name, *option.aliases)]
    help_text = option.help.replace("%", "%%") or argparse.SUPPRESS
    if option.environment:
        help_text += f" [{option.environment[0]}]"
    group.add_argument(
        *([option.short] if option.short else []),
        names[0],
        dest=option.name,
        action=CollectSettings,
        metavar=option.metavar or None,
        nargs=None if option.metavar else 0,
        help=help_text,
    )
    for name in names[1:]:
        group.add_argument(
            name,
            dest=option.name,
            action=CollectSettings,
            nargs=None if option.metavar else 0,
            help=argparse.SUPPRESS,
        )
