"""Refuse every build but an editable one: names like `kernels` must not land in site-packages."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class EditableOnly(BuildHookInterface[Any]):
    """Stop `pip install .`, wheels and sdists with a sentence that says what to do."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before each build; `version` is "editable" for `pip install -e`."""
        if version != "editable":
            raise SystemExit(
                "genzoo is used from its checkout: run `pip install -e .` (or `make demo`). Its "
                "top-level folders (core, kernels, ...) would shadow other packages if installed."
            )
