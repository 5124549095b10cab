#compdef launch
# Completion of launch: eval "$(launch --completion zsh)"
_launch() {
    local -a answer open whole
    local candidate
    answer=("${(@f)$("${(Q)words[1]/#\~/$HOME}" --complete zsh "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
    for candidate in "${(@)answer[3,-1]}"; do
        case $candidate in
            (*[=.] | *\[*) open+=("$candidate") ;; # it goes on
            (*) whole+=("$candidate") ;;
        esac
    done
    compadd -S '' -a open
    compadd -a whole
    case $answer[1] in
        (files) compset -P "${(b)answer[2]}"; _files ;;
        (directories) compset -P "${(b)answer[2]}"; _files -/ ;;
    esac
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _launch launch
