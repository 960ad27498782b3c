"""`completion` and `hook`: scripts for shells. The completion calls `devbox __complete` at every Tab."""

from __future__ import annotations

import sys

from devbox.cli.names import SHELLS
from devbox.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from devbox.commands.table.options import Args


def show(args: Args, scripts: Mapping[str, str], *, command: str) -> int:
    """Print the script of the named shell. UsageError for an unsupported one."""
    shell = args.get_text("shell")
    if shell not in scripts:
        wrong = (
            f'invalid value for SHELL: expected {", ".join(scripts)}, got "{shell}"'
            if shell
            else "missing argument: SHELL"
        )
        raise UsageError(wrong, remedy=" · ".join(f"devbox {command} {known}" for known in scripts))
    sys.stdout.write(scripts[shell])
    return 0


_BASH = r"""# bash completion of devbox:  source <(devbox completion bash)
_devbox() {
    local value
    COMPREPLY=()
    while IFS=$'\t' read -r value _; do
        case $value in
            :files) compopt -o default ;;
            :directories) compopt -o dirnames ;;
            *) COMPREPLY+=("$value") ;;
        esac
    done < <("${1/#\~/$HOME}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o nosort -F _devbox devbox
"""

_ZSH = r"""#compdef devbox
# zsh completion of devbox:  source <(devbox completion zsh)   after compinit, or as _devbox on fpath
_devbox() {
    local value about
    local -a found
    while IFS=$'\t' read -r value about; do
        case $value in
            :files) _files; return ;;
            :directories) _files -/; return ;;
            *) found+=("${value//:/\\:}:$about") ;;
        esac
    done < <("${words[1]/#\~/$HOME}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)
    _describe -V devbox found
}
if [[ $funcstack[1] == _devbox ]]; then _devbox "$@"; else compdef _devbox devbox; fi
"""

_FISH = r"""# fish completion of devbox:  devbox completion fish | source
function __devbox_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for line in ($words[1] __complete $words[2..-1] "$current" 2>/dev/null)
        switch $line
            case :files
                __fish_complete_path "$current"
            case :directories
                __fish_complete_directories "$current"
            case '*'
                printf '%s\n' $line
        end
    end
end
complete -c devbox -f -k -a '(__devbox_complete)'
"""

SCRIPTS = dict(zip(SHELLS, (_BASH, _ZSH, _FISH), strict=True))


def completion(args: Args) -> int:
    """Print the completion script of a shell."""
    return show(args, SCRIPTS, command="completion")


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

_BASH_HOOK = f"""# bash sets itself up for the project it is in:  eval "$(devbox hook bash)"   at the end of ~/.bashrc
{_COMMON.replace("SHELL", "bash")}if [[ " ${{PROMPT_COMMAND[*]-}} " != *_devbox_hook* ]]; then
    PROMPT_COMMAND="_devbox_hook${{PROMPT_COMMAND:+; $PROMPT_COMMAND}}"
fi
"""

_ZSH_HOOK = f"""# zsh sets itself up for the project it is in:  eval "$(devbox hook zsh)"   at the end of ~/.zshrc
{_COMMON.replace("SHELL", "zsh")}autoload -Uz add-zsh-hook
add-zsh-hook precmd _devbox_hook
"""

_FISH_HOOK = r"""# set fish up for the project it is in:  devbox hook fish | source   in ~/.config/fish/config.fish
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

HOOK_SCRIPTS = dict(zip(SHELLS, (_BASH_HOOK, _ZSH_HOOK, _FISH_HOOK), strict=True))


def hook(args: Args) -> int:
    """Print the hook script of a shell."""
    return show(args, HOOK_SCRIPTS, command="hook")
