"""`fewview methods`: the reconstruction methods, and the settings of one."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import tyro

from ..recon.methods.registry import method, method_names
from ..recon.methods.setting_text import list_settings
from ..scene.errors import BadInputError
from .options import Common
from .result import finish


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """The reconstruction methods, and the settings of each.

    With a name the settings of that one are listed, for `fewview reconstruct --set FIELD=VALUE`.
    """

    # Method whose settings are listed; all methods when left out.
    name: tyro.conf.Positional[str] = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.output is not None:
            raise BadInputError("`fewview methods` writes no file; leave -o out.")


def run(options: Options) -> None:
    if options.name:
        _list_settings(options)
        return
    found = [method(name) for name in method_names()]
    width = max(len(one.name) for one in found) + 2
    lines = [f"{one.name:<{width}}{one.summary}{' Follows time.' if one.uses_time else ''}" for one in found]
    rows = [
        {
            "name": one.name,
            "summary": one.summary,
            "needs": list(one.needs),
            "takes": list(one.takes),
            "uses_time": one.uses_time,
        }
        for one in found
    ]
    finish(options, {"methods": rows}, [*lines, "", "`fewview methods NAME` lists the settings of one."])


def _list_settings(options: Options) -> None:
    chosen = method(options.name)
    settings = list_settings(chosen.config)
    lines = [chosen.summary, ""]
    for setting in settings:
        lines += [f"{setting.name} = {setting.default}  ({setting.kind})", f"    {setting.text}"]
    lines += ["", f"e.g. fewview reconstruct photos/ --method {chosen.name} --set {settings[0].name}=..."]
    finish(options, {"method": chosen.name, "settings": [asdict(setting) for setting in settings]}, lines)
