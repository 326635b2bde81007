# completion of ds01 for bash
_ds01() {
    local IFS=$'\n'
    COMPREPLY=($(ds01 __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _ds01 ds01
