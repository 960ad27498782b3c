"""`completion`: the script that teaches a shell to complete devbox. It asks `devbox __complete` at every Tab."""

from __future__ import annotations

from devbox.cli import shellscripts
from devbox.cli.names import SHELLS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.cli.options import Args

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
    """Print the script of a shell."""
    return shellscripts.show(args, SCRIPTS, command="completion")
