# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# Completion for bash. lagan itself knows what can stand where: `lagan __complete WORD...`.
_lagan() {
    local word
    COMPREPLY=()
    while IFS=$'\t' read -r word _; do
        if [[ $word == : ]]; then
            compopt -o filenames 2>/dev/null
            while read -r word; do
                COMPREPLY+=("$word")
            done < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]#=}")
        else
            COMPREPLY+=("$word")
        fi
    done < <("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _lagan lagan
