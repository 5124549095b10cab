# Completion of launch: launch --completion fish | source
function __launch_complete
    set -l words (commandline -opc)
    while string match -q '*=*' -- $words[1] # variables before the command
        set -e words[1]
    end
    set -l command (string replace -r '^~' $HOME -- $words[1])
    set -l current (commandline -ct | string replace -ra '[\'"\\\\]' '')
    set -l answer ($command --complete fish $words[2..-1] "$current" 2>/dev/null)
    printf '%s\n' $answer[3..-1]
    set -l path (string replace -- "$answer[2]" '' $current)
    switch "$answer[1]"
        case files
            string replace -r '^' -- "$answer[2]" (__fish_complete_path $path)
        case directories
            string replace -r '^' -- "$answer[2]" (__fish_complete_directories $path '')
    end
end
complete -c launch -f -a '(__launch_complete)'
