#compdef ds01
_ds01() {
    local -a found
    found=("${(@f)$(ds01 __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    found=(${found:#})
    if (( ${#found} )); then
        compadd -a found
    else
        _files
    fi
}
compdef _ds01 ds01
