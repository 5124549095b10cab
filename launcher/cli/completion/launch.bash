# Completion of launch: eval "$(launch --completion bash)"
_launch() {
    # $2 is what a candidate replaces: less than a word, which bash splits at = and :
    local answer
    mapfile -t answer < <("${1/#\~/$HOME}" --complete bash "$2" "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
    COMPREPLY=("${answer[@]:2}")
    case ${answer[0]-} in
        files) compopt -o default ;;
        directories) compopt -o dirnames ;;
    esac
    case ${COMPREPLY[0]-} in
        *[=.] | *\[*) compopt -o nospace ;; # it goes on
    esac
}
complete -F _launch launch
