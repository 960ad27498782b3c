"""`hook`: the script that has a shell set up for the project it is in. Python starts when a project begins or ends.

Before each prompt the shell itself looks for devbox.toml above it, and reads a line of two small files of the project:
what is allowed, and which ports it has.
"""

from __future__ import annotations

from devbox.cli import shellscripts
from devbox.cli.names import SHELLS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.cli.options import Args

_COMMON = r"""_devbox_look() {
    local at=$PWD file line
    while [[ -n $at && ! -e $at/devbox.toml ]]; do at=${at%/*}; done
    _devbox_now=$at
    for file in trust.json ports.json; do
        [[ -n $at && -n $_devbox_watched && -r $_devbox_watched/$file ]] || continue
        line=; IFS= read -r line < "$_devbox_watched/$file"
        _devbox_now+=" $line"
    done
}
_devbox_hook() {
    local code=$?
    _devbox_look
    if [[ $_devbox_now != "$_devbox_seen" ]]; then
        eval "$(command devbox __activate SHELL)"
        _devbox_look
        _devbox_seen=$_devbox_now
    fi
    return $code
}
_devbox_watched= _devbox_now= _devbox_seen=${DEVBOX_ACTIVE:+once}
"""

_BASH = f"""# bash sets itself up for the project it is in:  eval "$(devbox hook bash)"   at the end of ~/.bashrc
{_COMMON.replace("SHELL", "bash")}if [[ " ${{PROMPT_COMMAND[*]-}} " != *_devbox_hook* ]]; then
    PROMPT_COMMAND="_devbox_hook${{PROMPT_COMMAND:+; $PROMPT_COMMAND}}"
fi
"""

_ZSH = f"""# zsh sets itself up for the project it is in:  eval "$(devbox hook zsh)"   at the end of ~/.zshrc
{_COMMON.replace("SHELL", "zsh")}autoload -Uz add-zsh-hook
add-zsh-hook precmd _devbox_hook
"""

_FISH = r"""# fish sets itself up for the project it is in:  devbox hook fish | source   in ~/.config/fish/config.fish
function _devbox_look
    set -l at $PWD
    while test -n "$at"; and not test -e "$at/devbox.toml"
        set at (string replace -r '/[^/]*$' '' -- $at)
    end
    set -g _devbox_now "$at"
    for file in trust.json ports.json
        if test -n "$at" -a -n "$_devbox_watched" -a -r "$_devbox_watched/$file"
            set -l line
            read -l line < "$_devbox_watched/$file"
            set -g _devbox_now "$_devbox_now $line"
        end
    end
end
function _devbox_hook --on-event fish_prompt
    _devbox_look
    if test "$_devbox_now" != "$_devbox_seen"
        command devbox __activate fish | source
        _devbox_look
        set -g _devbox_seen "$_devbox_now"
    end
end
set -g _devbox_watched ''
set -g _devbox_now ''
set -g _devbox_seen (test -n "$DEVBOX_ACTIVE"; and echo once; or echo '')
"""

SCRIPTS = dict(zip(SHELLS, (_BASH, _ZSH, _FISH), strict=True))


def hook(args: Args) -> int:
    """Print the script of a shell."""
    return shellscripts.show(args, SCRIPTS, command="hook")
